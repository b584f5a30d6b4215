#include "services/server/usecases/spec_diff.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_replace.h"
#include "fmt/format.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"
#include "libs/config/yaml_fields.h"
#include "services/server/usecases/field_text.h"

namespace dstack::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::MessageDifferencer;

constexpr const char* kHosts = "ssh_config.hosts";
constexpr const char* kSecret = "***";
constexpr std::size_t kShownDigits = 12;

bool FieldEquals(const FieldDescriptor& field, const Message& a, const Message& b) {
  MessageDifferencer differencer;
  const std::vector<const FieldDescriptor*> fields = {&field};
  return differencer.CompareWithFields(a, b, fields, fields);
}

// Elements by name, so that order alone is no difference.
using Named = std::map<std::string, const Message*>;

Named ByName(const Message& message, const FieldDescriptor& field) {
  Named named;
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& element = reflection.GetRepeatedMessage(message, &field, i);
    std::string name;
    if (const auto* variable = dynamic_cast<const config::v1::EnvVar*>(&element)) {
      name = variable->name();
    } else if (const auto* host = dynamic_cast<const config::v1::SshHost*>(&element)) {
      name = host->has_port() ? fmt::format("{}:{}", host->hostname(), host->port())
                              : host->hostname();
    }
    named[name] = &element;
  }
  return named;
}

class Comparer {
 public:
  // Fields of a document whose values differ. Messages that are written at the level of their
  // parent are opened, also those that have no text of their own.
  void Compare(const Message& a, const Message& b, const std::string& prefix) {
    const auto& descriptor = *a.GetDescriptor();
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const FieldDescriptor& field = *descriptor.field(i);
      const auto& rules = config::RulesOf(field);
      if (rules.hidden()) continue;
      if (rules.inline_() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        CompareInline(field, a, b, prefix);
      } else {
        CompareField(field, a, b, prefix + config::KeyName(field));
      }
    }
  }

  void Add(const std::string& field,
           const std::string& path,
           const std::string& current,
           const std::string& wanted) {
    changes_.push_back({list_.empty() ? field : list_, path, current, wanted});
  }

  std::vector<SpecChange> Take() { return std::move(changes_); }

 private:
  void CompareInline(const FieldDescriptor& field,
                     const Message& a,
                     const Message& b,
                     const std::string& prefix) {
    const Reflection& reflection = *a.GetReflection();
    const bool is_kind = field.containing_oneof() != nullptr;
    const bool is_in_a = reflection.HasField(a, &field);
    const bool is_in_b = reflection.HasField(b, &field);
    if (is_kind && is_in_a != is_in_b) {
      const std::string word = absl::StrReplaceAll(field.name(), {{"_", "-"}});
      NoteKind(is_in_a ? word : "", is_in_b ? word : "");
      return;
    }
    Compare(reflection.GetMessage(a, &field), reflection.GetMessage(b, &field), prefix);
  }

  // The kind that goes and the one that comes are two fields and one change.
  void NoteKind(const std::string& current, const std::string& wanted) {
    for (SpecChange& change : changes_) {
      if (change.path != "type") continue;
      change.current += current;
      change.wanted += wanted;
      return;
    }
    Add("type", "type", current, wanted);
  }

  void CompareField(const FieldDescriptor& field,
                    const Message& a,
                    const Message& b,
                    const std::string& path) {
    if (field.is_repeated() && IsNamed(field)) return CompareNamed(field, a, b, path);
    if (FieldEquals(field, a, b)) return;
    if (field.is_map()) return Add(path, path, "", "");
    if (field.is_repeated()) return CompareElements(field, a, b, path);
    CompareValue(field, a, b, path);
  }

  void CompareValue(const FieldDescriptor& field,
                    const Message& a,
                    const Message& b,
                    const std::string& path) {
    const bool is_opened =
        field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !HasText(*field.message_type());
    if (!is_opened) return Add(path, path, TextOfField(a, field), TextOfField(b, field));
    const std::size_t before = changes_.size();
    Compare(a.GetReflection()->GetMessage(a, &field),
            b.GetReflection()->GetMessage(b, &field),
            path + ".");
    const bool is_presence_all =
        a.GetReflection()->HasField(a, &field) != b.GetReflection()->HasField(b, &field);
    if (changes_.size() == before && is_presence_all) Add(path, path, "", "");
  }

  // Element by element.
  void CompareElements(const FieldDescriptor& field,
                       const Message& a,
                       const Message& b,
                       const std::string& path) {
    const int a_size = a.GetReflection()->FieldSize(a, &field);
    const int b_size = b.GetReflection()->FieldSize(b, &field);
    const std::size_t before = changes_.size();
    for (int i = 0; i < std::max(a_size, b_size); ++i) {
      const std::string current = i < a_size ? TextOfElement(a, field, i) : "";
      const std::string wanted = i < b_size ? TextOfElement(b, field, i) : "";
      if (current != wanted) Add(path, fmt::format("{}[{}]", path, i), current, wanted);
    }
    // Elements without a text of their own, or texts that are cut before they differ.
    if (changes_.size() == before) Add(path, path, "", "");
  }

  static bool IsNamed(const FieldDescriptor& field) {
    return field.message_type() == config::v1::EnvVar::descriptor() ||
           field.message_type() == config::v1::SshHost::descriptor();
  }

  void CompareNamed(const FieldDescriptor& field,
                    const Message& a,
                    const Message& b,
                    const std::string& path) {
    const Named current = ByName(a, field);
    const Named wanted = ByName(b, field);
    std::set<std::string> names;
    for (const auto& [name, element] : current) names.insert(name);
    for (const auto& [name, element] : wanted) names.insert(name);
    list_ = path;
    for (const std::string& name : names) {
      const auto in_current = current.find(name);
      const auto in_wanted = wanted.find(name);
      if (in_current == current.end()) {
        AddElement(field, path, name, /*is_new=*/true);
      } else if (in_wanted == wanted.end()) {
        AddElement(field, path, name, /*is_new=*/false);
      } else if (MessageDifferencer::Equals(*in_current->second, *in_wanted->second)) {
        continue;
      } else if (IsEnv(field)) {
        Add(path, NamedPath(field, path, name), kSecret, kSecret);
      } else {
        Compare(*in_current->second, *in_wanted->second, NamedPath(field, path, name) + ".");
      }
    }
    list_.clear();
  }

  static bool IsEnv(const FieldDescriptor& field) {
    return field.message_type() == config::v1::EnvVar::descriptor();
  }

  static std::string NamedPath(const FieldDescriptor& field,
                               const std::string& path,
                               const std::string& name) {
    return IsEnv(field) ? fmt::format("{}.{}", path, name) : fmt::format("{}[{}]", path, name);
  }

  void AddElement(const FieldDescriptor& field,
                  const std::string& path,
                  const std::string& name,
                  bool is_new) {
    const std::string text = IsEnv(field) ? kSecret : name;
    Add(path,
        IsEnv(field) ? NamedPath(field, path, name) : path,
        is_new ? "" : text,
        is_new ? text : "");
  }

  std::vector<SpecChange> changes_;
  std::string list_;  // the field whose named elements are compared
};

// Files are the same when content and destination are, wherever they lie on the client's machine.
void CompareFiles(const api::v1::RunSpec& current,
                  const api::v1::RunSpec& wanted,
                  Comparer* comparer) {
  const auto digests = [](const api::v1::RunSpec& spec) {
    std::map<std::string, std::string> by_path;
    for (const auto& file : spec.files()) by_path[file.path()] = file.digest();
    return by_path;
  };
  const auto a = digests(current);
  const auto b = digests(wanted);
  std::set<std::string> paths;
  for (const auto& [path, digest] : a) paths.insert(path);
  for (const auto& [path, digest] : b) paths.insert(path);
  const auto shown = [](const auto& files, const std::string& path) {
    const auto file = files.find(path);
    return file == files.end() ? std::string() : file->second;
  };
  for (const std::string& path : paths) {
    const std::string before = shown(a, path);
    const std::string after = shown(b, path);
    if (before == after) continue;
    comparer->Add("files",
                  fmt::format("files[{}]", path),
                  before.substr(0, kShownDigits),
                  after.substr(0, kShownDigits));
  }
}

void CompareText(const char* field,
                 const std::string& current,
                 const std::string& wanted,
                 bool is_shown,
                 Comparer* comparer) {
  if (current == wanted) return;
  comparer->Add(field, field, is_shown ? current : "", is_shown ? wanted : "");
}

// What code a run gets, in one line; credentials are no part of it.
std::string RepoState(const api::v1::RunRepo& repo) {
  if (repo.clone_url().empty()) return "";
  std::string state = repo.clone_url();
  for (const std::string& part : {repo.branch(),
                                  repo.hash().substr(0, kShownDigits),
                                  repo.diff_digest().substr(0, kShownDigits)}) {
    if (!part.empty()) state += " " + part;
  }
  return state;
}

}  // namespace

std::vector<SpecChange> CompareSpecs(const api::v1::RunSpec& current,
                                     const api::v1::RunSpec& wanted) {
  Comparer comparer;
  config::v1::RunConfiguration a = current.configuration();
  config::v1::RunConfiguration b = wanted.configuration();
  a.clear_files();
  b.clear_files();
  comparer.Compare(a, b, "");
  CompareFiles(current, wanted, &comparer);
  CompareText("configuration_path",
              current.configuration_path(),
              wanted.configuration_path(),
              /*is_shown=*/true,
              &comparer);
  CompareText("ssh_public_key",
              current.ssh_public_key(),
              wanted.ssh_public_key(),
              /*is_shown=*/false,
              &comparer);
  CompareText("repo",
              RepoState(current.repo()),
              RepoState(wanted.repo()),
              /*is_shown=*/true,
              &comparer);
  return comparer.Take();
}

std::vector<SpecChange> CompareSpecs(const api::v1::FleetSpec& current,
                                     const api::v1::FleetSpec& wanted) {
  Comparer comparer;
  comparer.Compare(current.configuration(), wanted.configuration(), "");
  CompareText("configuration_path",
              current.configuration_path(),
              wanted.configuration_path(),
              /*is_shown=*/true,
              &comparer);
  return comparer.Take();
}

std::vector<std::string> FieldsOf(const std::vector<SpecChange>& changes) {
  std::set<std::string> fields;
  for (const SpecChange& change : changes) fields.insert(change.field);
  return {fields.begin(), fields.end()};
}

bool IsUpdatable(const api::v1::RunSpec& wanted, const std::vector<SpecChange>& changes) {
  std::set<std::string> allowed = {"priority", "configuration_path"};
  if (wanted.configuration().has_dev_environment()) allowed.insert("inactivity_duration");
  const auto arch = wanted.configuration().resources().cpu().arch();
  if (arch == config::v1::CPU_ARCH_UNSPECIFIED) allowed.insert("resources.cpu.arch");
  return std::all_of(changes.begin(), changes.end(), [&](const SpecChange& change) {
    return allowed.count(change.field) > 0;
  });
}

bool IsUpdatable(const std::vector<SpecChange>& changes) {
  return std::all_of(changes.begin(), changes.end(), [](const SpecChange& change) {
    return change.field == kHosts || change.field == "configuration_path";
  });
}

}  // namespace dstack::server
