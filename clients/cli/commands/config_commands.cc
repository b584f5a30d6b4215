#include "clients/cli/commands/config_commands.h"

#include <utility>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "clients/cli/commands/document_file.h"
#include "clients/cli/commands/profiles.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/canonical.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "libs/config/schema.h"

namespace dstack::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CheckedFile {
  std::string name;
  std::string text;
  // Not OK: the file could not be read.
  absl::Status status;
  config::CheckedDocument result;

  bool is_valid() const { return status.ok() && result.problems.empty(); }
};

CheckedFile Check(const Context& context, const std::string& file) {
  CheckedFile checked{.name = file};
  const absl::StatusOr<DocumentText> text = ReadDocumentText(context.environment, file);
  if (!text.ok()) {
    checked.status = text.status();
    return checked;
  }
  checked.name = text->shown_path;
  checked.text = text->text;
  checked.result = config::CheckDocument(checked.text, checked.name);
  return checked;
}

Json ProblemJson(const config::Problem& problem) {
  return {{"line", problem.mark.line},
          {"column", problem.mark.column},
          {"field", problem.path},
          {"rule", problem.rule},
          {"value", problem.value},
          {"suggestion", problem.suggestion}};
}

Json FileJson(const CheckedFile& file) {
  Json result = {{"file", file.name}, {"valid", file.is_valid()}};
  if (file.is_valid()) result["type"] = config::TypeOf(*file.result.document);
  Json problems = Json::array();
  Json warnings = Json::array();
  if (!file.status.ok()) problems.push_back({{"rule", base::Message(file.status)}});
  for (const config::Problem& problem : file.result.problems) {
    problems.push_back(ProblemJson(problem));
  }
  for (const config::Problem& warning : file.result.warnings) {
    warnings.push_back(ProblemJson(warning));
  }
  result["problems"] = std::move(problems);
  result["warnings"] = std::move(warnings);
  return result;
}

// What people call a document of this type.
std::string NounOf(const std::string& type) {
  if (type == "profiles") return "file of profiles";
  if (type == "client-config") return "configuration of a client";
  return type == "server-config" ? "configuration of a server" : type;
}

void PrintChecked(const Context& context, const CheckedFile& file) {
  for (const config::Problem& warning : file.result.warnings) {
    context.terminal.PrintWarning("warning: " +
                                  config::FormatProblemWithSource(warning, file.text));
  }
  if (file.is_valid()) {
    context.terminal.PrintLine(
        fmt::format("{} is a valid {}", file.name, NounOf(config::TypeOf(*file.result.document))),
        Style::kSuccess);
  } else if (!file.status.ok()) {
    context.terminal.PrintError(base::Message(file.status));
  } else {
    context.terminal.PrintError(config::FormatProblems(file.result.problems, file.text));
  }
}

// What `apply` would make of the configuration before it sends it.
absl::Status FillIn(const Context& context,
                    const ShowConfigOptions& options,
                    config::Configuration* configuration) {
  auto* run = std::get_if<config::v1::RunConfiguration>(configuration);
  auto* fleet = std::get_if<config::v1::FleetConfiguration>(configuration);
  if (run != nullptr || fleet != nullptr) {
    ASSIGN_OR_RETURN(const auto profile,
                     ChooseProfile(context.environment, options.profile, options.no_profile));
    if (profile.has_value() && run != nullptr) config::MergeProfile(profile->params(), run);
    if (profile.has_value() && fleet != nullptr) config::MergeProfile(profile->params(), fleet);
  }
  config::ApplyDefaults(configuration);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> CheckConfigs(const Context& context, const CheckConfigOptions& options) {
  std::vector<std::string> files = options.files;
  if (files.empty()) files.emplace_back();
  bool all_valid = true;
  Json report = Json::array();
  for (const std::string& name : files) {
    const CheckedFile file = Check(context, name);
    all_valid = all_valid && file.is_valid();
    if (options.json) {
      report.push_back(FileJson(file));
    } else {
      PrintChecked(context, file);
    }
  }
  if (options.json) context.terminal.Print(Json{{"files", std::move(report)}}.dump(2) + "\n");
  return all_valid ? 0 : 1;
}

absl::StatusOr<int> ShowConfig(const Context& context, const ShowConfigOptions& options) {
  const CheckedFile file = Check(context, options.file);
  RETURN_IF_ERROR(file.status);
  if (!file.is_valid()) {
    PrintChecked(context, file);
    return 1;
  }
  config::AnyDocument document = *file.result.document;
  if (auto* configuration = std::get_if<config::Configuration>(&document.content)) {
    RETURN_IF_ERROR(FillIn(context, options, configuration));
  }
  const Json canonical = config::CanonicalJson(document, {.hide_secrets = !options.show_secrets});
  context.terminal.Print(options.json ? canonical.dump(2) + "\n" : config::PrintYaml(canonical));
  return 0;
}

absl::StatusOr<int> PrintConfigSchema(const Context& context, const ConfigSchemaOptions& options) {
  ASSIGN_OR_RETURN(const Json schema, config::JsonSchema(options.type));
  context.terminal.Print(schema.dump(2) + "\n");
  return 0;
}

}  // namespace dstack::cli
