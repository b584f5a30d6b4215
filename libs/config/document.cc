#include "libs/config/document.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <yaml-cpp/emitter.h>

#include "libs/config/text.h"
#include "libs/config/validate.h"
#include "libs/config/yaml_load.h"
#include "libs/config/yaml_to_proto.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Kinds of documents that the format knows and this version cannot apply.
constexpr std::array kUnsupportedTypes = {"gateway", "volume", "preset", "template"};
constexpr std::array kSupportedTypes = {"dev-environment", "task", "service", "fleet"};

std::vector<std::string> SupportedTypes() {
  return {kSupportedTypes.begin(), kSupportedTypes.end()};
}

// Adds what validation found, unless the reader has refused the field or something around it.
void AddViolations(const std::vector<base::FieldViolation>& violations, YamlReader* reader) {
  const std::vector<Problem> refused = reader->problems();
  for (const base::FieldViolation& violation : violations) {
    const bool is_known = std::any_of(refused.begin(), refused.end(), [&](const Problem& problem) {
      return PathsOverlap(problem.path, violation.field);
    });
    if (!is_known) reader->RefuseAt(violation.field, violation.description);
  }
}

absl::Status StatusOf(const YamlReader& reader, std::string_view text) {
  std::vector<Problem> problems = reader.problems();
  if (problems.empty()) return absl::OkStatus();
  // In the order of the document, as compilers do; what has no place comes first.
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::pair(a.mark.line, a.mark.column) < std::pair(b.mark.line, b.mark.column);
  });
  return ProblemsToStatus(problems, text);
}

const FieldDescriptor* KindField(const std::string& type) {
  const auto* run = v1::RunConfiguration::descriptor();
  return run->FindFieldByName(type == "dev-environment" ? "dev_environment" : type);
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
  const bool has_hosts =
      std::any_of(root.entries.begin(), root.entries.end(), [](const Entry& entry) {
        return entry.key == "ssh_config" && entry.value->kind == NodeKind::kMap &&
               std::none_of(entry.value->entries.begin(),
                            entry.value->entries.end(),
                            [](const Entry& inner) { return inner.key == "hosts"; });
      });
  if (has_hosts) reader->RefuseAt("ssh_config.hosts", "is required");
  AddViolations(FindFleetViolations(*fleet), reader);
}

// The text of `type`; refused where it is missing or unknown.
std::optional<std::string> ReadType(const Node& root, YamlReader* reader) {
  if (root.kind != NodeKind::kMap) {
    reader->Refuse(root,
                   "",
                   "the document must be a mapping, not " +
                       (root.kind == NodeKind::kNull ? "empty" : KindName(root.kind)));
    return std::nullopt;
  }
  for (const Entry& entry : root.entries) {
    if (entry.key != "type") continue;
    const std::string type = ToText(*entry.value).value_or("");
    const std::vector<std::string> supported = SupportedTypes();
    if (std::find(supported.begin(), supported.end(), type) != supported.end()) return type;
    const bool is_unsupported =
        std::find(kUnsupportedTypes.begin(), kUnsupportedTypes.end(), type) !=
        kUnsupportedTypes.end();
    const std::optional<std::string> near = Nearest(type, supported);
    reader->Refuse(*entry.value,
                   "type",
                   is_unsupported ? "is not supported by this version; it must be " +
                                        AlternativesText(supported)
                                  : "must be " + AlternativesText(supported),
                   near && !is_unsupported ? fmt::format("did you mean `{}`?", *near) : "");
    return std::nullopt;
  }
  reader->Refuse(root, "type", "is required: " + AlternativesText(SupportedTypes()));
  return std::nullopt;
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

}  // namespace

absl::StatusOr<Document> ParseDocument(std::string_view text, const std::string& file_name) {
  absl::StatusOr<LoadedYaml> loaded = LoadYaml(text, file_name);
  if (!loaded.ok()) return loaded.status();
  YamlReader reader(file_name);
  Document document;
  document.warnings = std::move(loaded->warnings);
  const std::optional<std::string> type = ReadType(*loaded->root, &reader);
  if (type == "fleet") {
    ReadFleet(*loaded->root, &document.configuration.emplace<v1::FleetConfiguration>(), &reader);
  } else if (type) {
    ReadRun(*loaded->root, *type, &document.configuration.emplace<v1::RunConfiguration>(), &reader);
  }
  if (absl::Status status = StatusOf(reader, text); !status.ok()) return status;
  document.warnings.insert(
      document.warnings.end(), reader.warnings().begin(), reader.warnings().end());
  return document;
}

absl::StatusOr<v1::ProfilesFile> ParseProfiles(std::string_view text,
                                               const std::string& file_name) {
  const absl::StatusOr<LoadedYaml> loaded = LoadYaml(text, file_name);
  if (!loaded.ok()) return loaded.status();
  YamlReader reader(file_name);
  v1::ProfilesFile file;
  reader.ReadMapping(*loaded->root, "", &file);
  for (int i = 0; i < file.profiles_size(); ++i) {
    std::vector<base::FieldViolation> violations = FindProfileViolations(file.profiles(i).params());
    for (base::FieldViolation& violation : violations) {
      violation.field = ChildPath(ItemPath("profiles", static_cast<size_t>(i)), violation.field);
    }
    AddViolations(violations, &reader);
  }
  if (absl::Status status = StatusOf(reader, text); !status.ok()) return status;
  return file;
}

absl::StatusOr<v1::ClientConfig> ParseClientConfig(std::string_view text,
                                                   const std::string& file_name) {
  const absl::StatusOr<LoadedYaml> loaded = LoadYaml(text, file_name);
  if (!loaded.ok()) return loaded.status();
  v1::ClientConfig config;
  if (loaded->root->kind == NodeKind::kNull) return config;
  YamlReader reader(file_name);
  reader.ReadMapping(*loaded->root, "", &config, nullptr, {kLegacyClientKey});
  if (absl::Status status = StatusOf(reader, text); !status.ok()) return status;
  return config;
}

std::string PrintClientConfig(const v1::ClientConfig& config) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "projects" << YAML::Value << YAML::BeginSeq;
  for (const v1::ClientProject& project : config.projects()) PrintProject(project, &out);
  out << YAML::EndSeq << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace dstack::config
