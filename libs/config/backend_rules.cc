#include "libs/config/backend_rules.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "libs/config/problem.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Words = std::vector<std::string>;

// What credentials of one type consist of.
struct CredentialKeys {
  Words required;
  Words either;  // at least one of them
  Words optional;
};

// The keys of the type that `backend` takes; the type itself is given by TypesOf().
CredentialKeys KeysOf(const v1::BackendConfig& backend, const v1::BackendCredentials& creds) {
  switch (backend.kind_case()) {
    case v1::BackendConfig::kAws:
    case v1::BackendConfig::kCrusoe:
      return {.required = {"access_key", "secret_key"}};
    case v1::BackendConfig::kAzure:
      // The tenant is a key of the backend as well.
      return {.required = {"client_id", "client_secret"}, .optional = {"tenant_id"}};
    case v1::BackendConfig::kGcp:
      return {.either = {"filename", "data"}};
    case v1::BackendConfig::kVerda:
      return {.required = {"client_id", "client_secret"}};
    case v1::BackendConfig::kNebius: {
      const Words single = {"service_account_id", "public_key_id"};
      const Words key = {"private_key_file", "private_key_content"};
      if (!creds.has_filename()) return {.required = single, .either = key};
      return {.required = {"filename"}, .optional = {single[0], single[1], key[0], key[1]}};
    }
    case v1::BackendConfig::kOci:
      return {.required = {"user", "tenancy", "fingerprint", "region"},
              .either = {"key_file", "key_content"},
              .optional = {"pass_phrase"}};
    default:
      return {.required = {"api_key"}};
  }
}

// The types of credentials that a backend takes.
Words TypesOf(const v1::BackendConfig& backend) {
  switch (backend.kind_case()) {
    case v1::BackendConfig::kAws:
      return {"access_key", "default"};
    case v1::BackendConfig::kAzure:
    case v1::BackendConfig::kOci:
      return {"client", "default"};
    case v1::BackendConfig::kGcp:
      return {"service_account", "default"};
    case v1::BackendConfig::kNebius:
      return {"service_account"};
    case v1::BackendConfig::kCrusoe:
      return {"access_key"};
    default:
      return {"api_key"};
  }
}

bool Contains(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string Quoted(const Words& words, std::string_view last) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? fmt::format(" {} ", last) : ", ";
    text += fmt::format("`{}`", words[i]);
  }
  return text;
}

// An empty text is no credential.
bool IsGiven(const v1::BackendCredentials& creds, const std::string& key) {
  const FieldDescriptor* field = creds.GetDescriptor()->FindFieldByName(key);
  return field != nullptr && !creds.GetReflection()->GetString(creds, field).empty();
}

Words KeysIn(const v1::BackendCredentials& creds) {
  std::vector<const FieldDescriptor*> fields;
  creds.GetReflection()->ListFields(creds, &fields);
  Words keys;
  for (const FieldDescriptor* field : fields) {
    if (field->name() != "type") keys.push_back(field->name());
  }
  return keys;
}

void CheckCredentials(const v1::BackendConfig& backend,
                      const v1::BackendCredentials& creds,
                      const std::string& backend_name,
                      const std::string& path,
                      Violations* violations) {
  const Words types = TypesOf(backend);
  if (creds.type().empty()) return;  // said by the rules of the field
  if (!Contains(types, creds.type())) {
    violations->Add(ChildPath(path, "type"),
                    fmt::format("must be {} for {}", Quoted(types, "or"), backend_name));
    return;
  }
  const CredentialKeys keys = creds.type() == "default" ? CredentialKeys() : KeysOf(backend, creds);
  for (const std::string& key : keys.required) {
    if (!IsGiven(creds, key)) {
      violations->Add(
          ChildPath(path, key),
          fmt::format("is required for {} credentials of {}", creds.type(), backend_name));
    }
  }
  const bool has_either = std::any_of(
      keys.either.begin(), keys.either.end(), [&](const auto& key) { return IsGiven(creds, key); });
  if (!keys.either.empty() && !has_either)
    violations->Add(path, fmt::format("must have {}", Quoted(keys.either, "or")));
  for (const std::string& key : KeysIn(creds)) {
    if (Contains(keys.required, key) || Contains(keys.either, key) || Contains(keys.optional, key))
      continue;
    violations->Add(ChildPath(path, key),
                    fmt::format("is no part of {} credentials of {}", creds.type(), backend_name));
  }
}

// One of two ways to give a file, not both and not none.
void CheckFileOrContent(
    bool has_file, bool has_content, const std::string& path, const char* words, Violations* v) {
  if (has_file == has_content) v->Add(path, fmt::format("must have exactly one of {}", words));
}

void CheckFiles(const v1::BackendConfig& backend, const std::string& path, Violations* violations) {
  if (backend.has_kubernetes() && backend.kubernetes().has_kubeconfig()) {
    const v1::ConfigFile& file = backend.kubernetes().kubeconfig();
    CheckFileOrContent(file.has_filename(),
                       file.has_data(),
                       ChildPath(path, "kubeconfig"),
                       "`filename` and `data`",
                       violations);
  }
  for (int i = 0; i < backend.slurm().clusters_size(); ++i) {
    const v1::PrivateKeyFile& key = backend.slurm().clusters(i).private_key();
    CheckFileOrContent(
        key.has_path(),
        key.has_content(),
        ChildPath(ItemPath(ChildPath(path, "clusters"), static_cast<size_t>(i)), "private_key"),
        "`path` and `content`",
        violations);
  }
}

}  // namespace

void CheckBackendRules(const v1::BackendConfig& backend,
                       const std::string& path,
                       Violations* violations) {
  if (backend.kind_case() == v1::BackendConfig::KIND_NOT_SET) {
    violations->Add(ChildPath(path, "type"), "is required");
    return;
  }
  CheckFiles(backend, path, violations);
  if (backend.aws().has_vpc_name() && !backend.aws().vpc_ids().empty()) {
    violations->Add(ChildPath(path, "vpc_ids"), "cannot be used together with `vpc_name`");
  }
  const FieldDescriptor& kind = *backend.GetDescriptor()->FindFieldByNumber(backend.kind_case());
  const Message& settings = backend.GetReflection()->GetMessage(backend, &kind);
  const FieldDescriptor* field = settings.GetDescriptor()->FindFieldByName("creds");
  if (field == nullptr || !settings.GetReflection()->HasField(settings, field)) return;
  const auto& creds = static_cast<const v1::BackendCredentials&>(
      settings.GetReflection()->GetMessage(settings, field));
  CheckCredentials(backend, creds, kind.name(), ChildPath(path, "creds"), violations);
}

}  // namespace dstack::config
