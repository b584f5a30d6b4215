#include "libs/config/document_rules.h"

#include <set>
#include <string>

#include <fmt/format.h>

#include "libs/config/backend_rules.h"
#include "libs/config/names.h"
#include "libs/config/problem.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxPromptCharacters = 10'000;
constexpr size_t kMaxDomainBytes = 255;

bool IsBlank(const std::string& text) { return TrimBlanks(text).empty(); }

// Bytes that begin a character of UTF-8.
size_t CharactersOf(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

void CheckCertificate(const v1::GatewayConfiguration& gateway, Violations* violations) {
  const v1::GatewayCertificate& certificate = gateway.certificate();
  const bool is_acm = certificate.type() == v1::CERTIFICATE_TYPE_ACM;
  // Left out: Let's Encrypt.
  const bool is_lets_encrypt =
      !gateway.has_certificate() || certificate.type() == v1::CERTIFICATE_TYPE_LETS_ENCRYPT;
  if (is_acm && certificate.arn().empty()) {
    violations->Add("certificate.arn", "is required with the type `acm`");
  }
  if (!is_acm && !certificate.arn().empty()) {
    violations->Add("certificate.arn", "is used with the type `acm` alone");
  }
  if (is_acm && !gateway.backend().empty() && gateway.backend() != "aws") {
    violations->Add("certificate.type", "`acm` is used on aws alone");
  }
  if (is_lets_encrypt && gateway.has_public_ip() && !gateway.public_ip()) {
    violations->Add("public_ip",
                    "must be true with the certificate `lets-encrypt`, which is the default; "
                    "write `certificate: null` for none");
  }
  if (is_lets_encrypt && gateway.replicas() > 1) {
    violations->Add("replicas", "must be 1 with the certificate `lets-encrypt`");
  }
}

// Keys of one kind that another key excludes.
void CheckParameter(const v1::TemplateParameter& parameter,
                    const std::string& path,
                    Violations* violations) {
  if (parameter.type() == "env") return;
  for (const auto& [key, is_set] : {std::pair{"title", parameter.has_title()},
                                    std::pair{"name", parameter.has_name()},
                                    std::pair{"value", parameter.has_value()}}) {
    if (is_set) violations->Add(ChildPath(path, key), "is used with the type `env` alone");
  }
}

void CheckEncryptionKey(const v1::EncryptionKey& key,
                        const std::string& path,
                        Violations* violations) {
  if (key.type() != "aes") return;
  bool is_word = !key.name().empty();
  for (const char c : key.name()) is_word = is_word && IsAsciiAlnum(c);
  if (!is_word) violations->Add(ChildPath(path, "name"), "must be letters and digits");
  // 32 bytes are 44 characters of base64, the last one a `=`.
  constexpr size_t kSecretCharacters = 44;
  bool is_base64 = key.secret().size() == kSecretCharacters && key.secret().back() == '=';
  for (size_t i = 0; i + 1 < key.secret().size(); ++i) {
    const char c = key.secret()[i];
    is_base64 = is_base64 && (IsAsciiAlnum(c) || c == '+' || c == '/');
  }
  if (!is_base64) {
    violations->Add(ChildPath(path, "secret"),
                    "must be 32 random bytes in base64, such as `openssl rand -base64 32` prints");
  }
}

}  // namespace

void CheckGatewayRules(const v1::GatewayConfiguration& gateway, Violations* violations) {
  if (gateway.has_name()) violations->AddIf("name", CheckResourceName(gateway.name()));
  violations->AddIf("region", CheckPlainText(gateway.region(), kMaxTextBytes));
  if (gateway.has_instance_type() && gateway.instance_type().empty()) {
    violations->Add("instance_type", "must not be empty");
  }
  violations->AddIf("domain", CheckPlainText(gateway.domain(), kMaxDomainBytes));
  const bool may_be_private =
      gateway.backend() == "aws" || gateway.backend() == "gcp" || gateway.backend().empty();
  if (gateway.has_public_ip() && !gateway.public_ip() && !may_be_private) {
    violations->Add("public_ip", "can be false on aws and gcp alone");
  }
  CheckCertificate(gateway, violations);
  CheckTags(gateway.tags(), "tags", violations);
}

void CheckVolumeRules(const v1::VolumeConfiguration& volume, Violations* violations) {
  if (volume.has_name()) violations->AddIf("name", CheckResourceName(volume.name()));
  CheckTags(volume.tags(), "tags", violations);
  const v1::CloudVolume& cloud = volume.has_aws()   ? volume.aws()
                                 : volume.has_gcp() ? volume.gcp()
                                                    : volume.runpod();
  const bool is_registered =
      !cloud.volume_id().empty() || !volume.kubernetes().claim_name().empty();
  if (volume.backend_case() == v1::VolumeConfiguration::BACKEND_NOT_SET) {
    violations->Add("backend", "must be `aws`, `gcp`, `runpod` or `kubernetes`");
  }
  if (!volume.has_size_bytes() && !is_registered) {
    violations->Add("size",
                    fmt::format("is required unless `{}` names a disk that exists",
                                volume.has_kubernetes() ? "claim_name" : "volume_id"));
  }
  if (is_registered && volume.auto_cleanup_duration().duration().seconds() > 0) {
    violations->Add("auto_cleanup_duration",
                    "cannot be used with a disk that exists already: dstack never deletes it");
  }
}

void CheckPresetRules(const v1::PresetConfiguration& preset, Violations* violations) {
  if (preset.has_name()) violations->AddIf("name", CheckResourceName(preset.name()));
  const v1::PresetModel& model = preset.model();
  if (!preset.has_model() || model.has_repo() == model.has_base()) {
    violations->Add("model", "must have exactly one of `repo` and `base`");
  } else if (IsBlank(model.has_repo() ? model.repo() : model.base())) {
    violations->Add("model", "must not be blank");
  }
  if (model.has_name() && !model.has_repo()) violations->Add("model.name", "needs `repo`");
  if (preset.prompt().has_text()) {
    const std::string& text = preset.prompt().text();
    if (IsBlank(text) || CharactersOf(text) > kMaxPromptCharacters) {
      violations->Add("prompt", fmt::format("must have 1 to {} characters", kMaxPromptCharacters));
    }
  } else if (preset.has_prompt() && preset.prompt().path().empty()) {
    violations->Add("prompt", "must be a text or `{path: FILE}`");
  }
  if (preset.has_dataset() && IsBlank(preset.dataset())) {
    violations->Add("dataset", "must not be blank");
  }
  const bool is_random = !preset.has_dataset() || preset.dataset() == "random";
  for (const auto& [key, is_set] :
       {std::pair{"input_tokens", preset.has_input_tokens()},
        std::pair{"output_tokens", preset.has_output_tokens()},
        std::pair{"shared_prefix_tokens", preset.has_shared_prefix_tokens()}}) {
    if (is_set && !is_random) violations->Add(key, "is used with the dataset `random` alone");
  }
  constexpr int kDefaultInputTokens = 1024;
  const int input = preset.has_input_tokens() ? preset.input_tokens() : kDefaultInputTokens;
  if (preset.shared_prefix_tokens() >= input) {
    violations->Add("shared_prefix_tokens", fmt::format("must be below `input_tokens`, {}", input));
  }
}

void CheckTemplateRules(const v1::TemplateConfiguration& form, Violations* violations) {
  violations->AddIf("name", CheckPlainText(form.name(), kMaxTextBytes));
  violations->AddIf("title", CheckPlainText(form.title(), kMaxTextBytes));
  for (int i = 0; i < form.parameters_size(); ++i) {
    CheckParameter(form.parameters(i), ItemPath("parameters", static_cast<size_t>(i)), violations);
  }
}

void CheckServerConfigRules(const v1::ServerConfig& config, Violations* violations) {
  std::set<std::string> names;
  for (int i = 0; i < config.projects_size(); ++i) {
    const v1::ServerProject& project = config.projects(i);
    const std::string path = ItemPath("projects", static_cast<size_t>(i));
    violations->AddIf(ChildPath(path, "name"), CheckProjectName(project.name()));
    if (!names.insert(project.name()).second) {
      violations->Add(ChildPath(path, "name"),
                      fmt::format("is given twice: `{}`", Excerpt(project.name())));
    }
    for (int k = 0; k < project.backends_size(); ++k) {
      CheckBackendRules(project.backends(k),
                        ItemPath(ChildPath(path, "backends"), static_cast<size_t>(k)),
                        violations);
    }
  }
  for (int i = 0; i < config.encryption().keys_size(); ++i) {
    CheckEncryptionKey(config.encryption().keys(i),
                       ItemPath("encryption.keys", static_cast<size_t>(i)),
                       violations);
  }
}

}  // namespace dstack::config
