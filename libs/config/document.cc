#include "libs/config/document.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <yaml-cpp/emitter.h>

#include "libs/config/suggest.h"
#include "libs/config/text.h"
#include "libs/config/validate.h"
#include "libs/config/yaml_load.h"
#include "libs/config/yaml_to_proto.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::array kTypes = {
    "task", "dev-environment", "service", "fleet", "gateway", "volume", "preset", "template"};
constexpr std::array kVolumeBackends = {"aws", "gcp", "runpod", "kubernetes"};

template <typename Words>
std::vector<std::string> Listed(const Words& words) {
  return {words.begin(), words.end()};
}

// Adds what validation found, unless the reader has refused the field or something around it.
void AddViolations(const std::vector<base::FieldViolation>& violations, YamlReader* reader) {
  const std::vector<Problem> refused = reader->problems();
  for (const base::FieldViolation& violation : violations) {
    const bool is_known = std::any_of(refused.begin(), refused.end(), [&](const Problem& problem) {
      return PathsOverlap(problem.path, violation.field);
    });
    const bool is_said = is_known || reader->IsMeant(violation.field);
    if (!is_said) reader->RefuseAt(violation.field, violation.description);
  }
}

// In the order of the document, as compilers do; what has no place comes first.
std::vector<Problem> Sorted(std::vector<Problem> problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::pair(a.mark.line, a.mark.column) < std::pair(b.mark.line, b.mark.column);
  });
  return problems;
}

const FieldDescriptor* KindField(const std::string& type) {
  const auto* run = v1::RunConfiguration::descriptor();
  return run->FindFieldByName(type == "dev-environment" ? "dev_environment" : type);
}

const Node* ValueOf(const Node& node, std::string_view key) {
  for (const Entry& entry : node.entries) {
    if (entry.key == key) return entry.value.get();
  }
  return nullptr;
}

// The text of a key that selects the other keys; refused where it is missing or not one of `words`.
std::optional<std::string> ReadSelector(const Node& root,
                                        const std::string& key,
                                        const std::vector<std::string>& words,
                                        YamlReader* reader) {
  const Node* node = ValueOf(root, key);
  if (node == nullptr) {
    reader->Refuse(root,
                   key,
                   "is required: " + AlternativesText(words),
                   key == "type" ? fmt::format("begin the file with `type: {}`", words.front())
                                 : SuggestForRule(key, "is required", ""));
    return std::nullopt;
  }
  const std::string word = ToText(*node).value_or("");
  if (std::find(words.begin(), words.end(), word) != words.end()) return word;
  const std::string foreign = SuggestKey(word, words);
  const std::optional<std::string> near =
      foreign.empty() ? Nearest(word, words) : std::optional<std::string>(foreign);
  reader->Refuse(*node,
                 key,
                 "must be " + AlternativesText(words),
                 near ? fmt::format("did you mean `{}`?", *near) : "");
  return std::nullopt;
}

void ReadRun(const Node& root,
             const std::string& type,
             v1::RunConfiguration* run,
             YamlReader* reader) {
  const FieldDescriptor* kind = KindField(type);
  run->GetReflection()->MutableMessage(run, kind);
  reader->ReadMapping(root, "", run, kind, {"type"});
  AddViolations(FindRunViolations(*run), reader);
  if (!run->image().empty() && run->nvcc()) {
    reader->WarnAt("nvcc", "has no effect together with `image`");
  }
}

void ReadFleet(const Node& root, v1::FleetConfiguration* fleet, YamlReader* reader) {
  reader->ReadMapping(root, "", fleet, nullptr, {"type"});
  const Node* ssh = ValueOf(root, "ssh_config");
  const bool lacks_hosts =
      ssh != nullptr && ssh->kind == NodeKind::kMap && ValueOf(*ssh, "hosts") == nullptr;
  if (lacks_hosts && !reader->IsMeant("ssh_config.hosts")) {
    reader->RefuseAt("ssh_config.hosts", "is required");
  }
  AddViolations(FindFleetViolations(*fleet), reader);
}

void ReadGateway(const Node& root, v1::GatewayConfiguration* gateway, YamlReader* reader) {
  reader->ReadMapping(root, "", gateway, nullptr, {"type"});
  AddViolations(FindGatewayViolations(*gateway), reader);
}

void ReadVolume(const Node& root, v1::VolumeConfiguration* volume, YamlReader* reader) {
  const std::optional<std::string> backend =
      ReadSelector(root, "backend", Listed(kVolumeBackends), reader);
  if (!backend) return;  // which other keys there are is not known
  const FieldDescriptor* kind = v1::VolumeConfiguration::descriptor()->FindFieldByName(*backend);
  volume->GetReflection()->MutableMessage(volume, kind);
  reader->ReadMapping(root, "", volume, kind, {"type", "backend"});
  AddViolations(FindVolumeViolations(*volume), reader);
}

// `base` and `repo` at the top level are short for the mapping below `model`.
void FoldModel(const Node& root, v1::PresetConfiguration* preset, YamlReader* reader) {
  const auto is_given = [&](const char* key) {
    const Node* node = ValueOf(root, key);
    return node != nullptr && node->kind != NodeKind::kNull;
  };
  const int ways =
      (is_given("model") ? 1 : 0) + (is_given("base") ? 1 : 0) + (is_given("repo") ? 1 : 0);
  if (ways != 1) {
    reader->Refuse(root, "model", "must be given once, as `model`, `base` or `repo`");
    return;
  }
  for (const char* key : {"base", "repo"}) {
    if (!is_given(key)) continue;
    const Node& node = *ValueOf(root, key);
    absl::StatusOr<std::string> text = ToText(node);
    if (!text.ok()) {
      reader->Refuse(node, key, text.status());
    } else if (std::string_view(key) == "base") {
      preset->mutable_model()->set_base(*std::move(text));
    } else {
      preset->mutable_model()->set_repo(*std::move(text));
    }
  }
}

void ReadPreset(const Node& root, v1::PresetConfiguration* preset, YamlReader* reader) {
  reader->ReadMapping(root, "", preset, nullptr, {"type", "base", "repo"});
  FoldModel(root, preset, reader);
  if (preset->has_dataset()) preset->set_dataset(std::string(TrimBlanks(preset->dataset())));
  AddViolations(FindPresetViolations(*preset), reader);
}

void ReadTemplate(const Node& root, v1::TemplateConfiguration* form, YamlReader* reader) {
  reader->ReadMapping(root, "", form, nullptr, {"type"});
  AddViolations(FindTemplateViolations(*form), reader);
}

// Reads the keys of a document whose `type` is known.
void ReadTyped(const Node& root,
               const std::string& type,
               Configuration* configuration,
               YamlReader* reader) {
  if (type == "fleet") {
    ReadFleet(root, &configuration->emplace<v1::FleetConfiguration>(), reader);
  } else if (type == "gateway") {
    ReadGateway(root, &configuration->emplace<v1::GatewayConfiguration>(), reader);
  } else if (type == "volume") {
    ReadVolume(root, &configuration->emplace<v1::VolumeConfiguration>(), reader);
  } else if (type == "preset") {
    ReadPreset(root, &configuration->emplace<v1::PresetConfiguration>(), reader);
  } else if (type == "template") {
    ReadTemplate(root, &configuration->emplace<v1::TemplateConfiguration>(), reader);
  } else {
    ReadRun(root, type, &configuration->emplace<v1::RunConfiguration>(), reader);
  }
}

// Refuses what is not a mapping.
bool IsMapping(const Node& root, YamlReader* reader) {
  if (root.kind == NodeKind::kMap) return true;
  reader->Refuse(root,
                 "",
                 "the document must be a mapping, not " +
                     (root.kind == NodeKind::kNull ? "empty" : KindName(root.kind)),
                 root.kind == NodeKind::kList
                     ? "take out the `- ` in front of `type:`, and begin all keys in one column"
                     : "begin the file with a line such as `type: task`");
  return false;
}

void ReadConfiguration(const Node& root, Configuration* configuration, YamlReader* reader) {
  if (!IsMapping(root, reader)) return;
  const std::optional<std::string> type = ReadSelector(root, "type", Listed(kTypes), reader);
  if (type) ReadTyped(root, *type, configuration, reader);
}

void ReadProfiles(const Node& root, v1::ProfilesFile* file, YamlReader* reader) {
  reader->ReadMapping(root, "", file);
  for (int i = 0; i < file->profiles_size(); ++i) {
    std::vector<base::FieldViolation> violations =
        FindProfileViolations(file->profiles(i).params());
    for (base::FieldViolation& violation : violations) {
      violation.field = ChildPath(ItemPath("profiles", static_cast<size_t>(i)), violation.field);
    }
    AddViolations(violations, reader);
  }
}

void ReadServerConfig(const Node& root, v1::ServerConfig* config, YamlReader* reader) {
  if (root.kind == NodeKind::kNull) return;
  reader->ReadMapping(root, "", config);
  AddViolations(FindServerConfigViolations(*config), reader);
}

// The key that a fragment of a longer file once had, and that has no effect any more.
constexpr const char* kLegacyClientKey = "repos";

void PrintProject(const v1::ClientProject& project, YAML::Emitter* out) {
  *out << YAML::BeginMap;
  *out << YAML::Key << "name" << YAML::Value << YAML::DoubleQuoted << project.name();
  *out << YAML::Key << "url" << YAML::Value << YAML::DoubleQuoted << project.url();
  *out << YAML::Key << "token" << YAML::Value << YAML::DoubleQuoted << project.token();
  if (project.has_is_default()) {
    *out << YAML::Key << "default" << YAML::Value << project.is_default();
  }
  *out << YAML::EndMap;
}

void ReadClientConfig(const Node& root, v1::ClientConfig* config, YamlReader* reader) {
  if (root.kind == NodeKind::kNull) return;
  reader->ReadMapping(root, "", config, nullptr, {kLegacyClientKey});
}

// The projects of a client have an address, those of a server do not.
bool IsClientConfig(const Node& root) {
  const Node* projects = ValueOf(root, "projects");
  if (projects == nullptr) return false;
  return std::any_of(projects->items.begin(), projects->items.end(), [](const NodePtr& project) {
    return ValueOf(*project, "url") != nullptr || ValueOf(*project, "token") != nullptr;
  });
}

bool IsServerConfig(const Node& root) {
  constexpr std::array kKeys = {"projects", "encryption", "default_permissions", "plugins"};
  return std::any_of(
      kKeys.begin(), kKeys.end(), [&](const char* key) { return ValueOf(root, key) != nullptr; });
}

void ReadAny(const Node& root, AnyDocument* document, YamlReader* reader) {
  const bool is_typed = ValueOf(root, "type") != nullptr;
  if (!is_typed && ValueOf(root, "profiles") != nullptr) {
    ReadProfiles(root, &document->content.emplace<v1::ProfilesFile>(), reader);
  } else if (!is_typed && IsClientConfig(root)) {
    ReadClientConfig(root, &document->content.emplace<v1::ClientConfig>(), reader);
  } else if (!is_typed && IsServerConfig(root)) {
    ReadServerConfig(root, &document->content.emplace<v1::ServerConfig>(), reader);
  } else {
    ReadConfiguration(root, &document->content.emplace<Configuration>(), reader);
  }
}

struct Findings {
  std::vector<Problem> problems;
  std::vector<Problem> warnings;
};

// Loads the text, lets `read` fill the message, and tells what was found.
template <typename Read>
Findings ReadText(std::string_view text, const std::string& file_name, Read read) {
  Findings findings;
  std::optional<LoadedYaml> loaded = LoadYaml(text, file_name, &findings.problems);
  if (!loaded) return findings;
  YamlReader reader(file_name);
  read(*loaded->root, &reader);
  reader.HideLinesWithSecrets(*loaded->root);
  findings.problems = Sorted(reader.problems());
  findings.warnings = std::move(loaded->warnings);
  findings.warnings.insert(
      findings.warnings.end(), reader.warnings().begin(), reader.warnings().end());
  return findings;
}

// Reads a message by `read`, which gets it as its second argument.
template <typename Settings>
absl::StatusOr<Settings> ReadSettings(std::string_view text,
                                      const std::string& file_name,
                                      void (*read)(const Node&, Settings*, YamlReader*)) {
  Settings message;
  const Findings findings = ReadText(
      text, file_name, [&](const Node& root, YamlReader* reader) { read(root, &message, reader); });
  if (!findings.problems.empty()) return ProblemsToStatus(findings.problems, text);
  return message;
}

}  // namespace

absl::StatusOr<Document> ParseDocument(std::string_view text, const std::string& file_name) {
  Document document;
  Findings findings = ReadText(text, file_name, [&](const Node& root, YamlReader* reader) {
    ReadConfiguration(root, &document.configuration, reader);
  });
  if (!findings.problems.empty()) return ProblemsToStatus(findings.problems, text);
  document.warnings = std::move(findings.warnings);
  return document;
}

absl::StatusOr<v1::ProfilesFile> ParseProfiles(std::string_view text,
                                               const std::string& file_name) {
  return ReadSettings<v1::ProfilesFile>(text, file_name, ReadProfiles);
}

absl::StatusOr<v1::ClientConfig> ParseClientConfig(std::string_view text,
                                                   const std::string& file_name) {
  return ReadSettings<v1::ClientConfig>(text, file_name, ReadClientConfig);
}

absl::StatusOr<v1::ServerConfig> ParseServerConfig(std::string_view text,
                                                   const std::string& file_name) {
  return ReadSettings<v1::ServerConfig>(text, file_name, ReadServerConfig);
}

CheckedDocument CheckDocument(std::string_view text, const std::string& file_name) {
  CheckedDocument checked;
  AnyDocument document;
  Findings findings = ReadText(text, file_name, [&](const Node& root, YamlReader* reader) {
    ReadAny(root, &document, reader);
  });
  checked.problems = std::move(findings.problems);
  checked.warnings = std::move(findings.warnings);
  if (checked.problems.empty()) checked.document = std::move(document);
  return checked;
}

absl::StatusOr<AnyDocument> ParseAnyDocument(std::string_view text, const std::string& file_name) {
  CheckedDocument checked = CheckDocument(text, file_name);
  if (!checked.problems.empty()) return ProblemsToStatus(checked.problems, text);
  checked.document->warnings = std::move(checked.warnings);
  return *std::move(checked.document);
}

std::string TypeOf(const Configuration& configuration) {
  if (const auto* run = std::get_if<v1::RunConfiguration>(&configuration)) {
    if (run->has_dev_environment()) return "dev-environment";
    return run->has_service() ? "service" : "task";
  }
  constexpr std::array kOthers = {"task", "fleet", "gateway", "volume", "preset", "template"};
  return kOthers.at(configuration.index());
}

std::string TypeOf(const AnyDocument& document) {
  if (const auto* configuration = std::get_if<Configuration>(&document.content)) {
    return TypeOf(*configuration);
  }
  constexpr std::array kSettings = {"", "profiles", "client-config", "server-config"};
  return kSettings.at(document.content.index());
}

const Message& MessageOf(const Configuration& configuration) {
  return std::visit([](const auto& message) -> const Message& { return message; }, configuration);
}

const Message& MessageOf(const AnyDocument& document) {
  if (const auto* configuration = std::get_if<Configuration>(&document.content)) {
    return MessageOf(*configuration);
  }
  if (const auto* profiles = std::get_if<v1::ProfilesFile>(&document.content)) return *profiles;
  if (const auto* client = std::get_if<v1::ClientConfig>(&document.content)) return *client;
  return std::get<v1::ServerConfig>(document.content);
}

std::string PrintClientConfig(const v1::ClientConfig& config) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "projects" << YAML::Value << YAML::BeginSeq;
  for (const v1::ClientProject& project : config.projects()) PrintProject(project, &out);
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace dstack::config
