#include "clients/cli/commands/document_file.h"

#include <cerrno>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/document.h"

namespace dstack::cli {
namespace {

// One byte more than a document may have, so that the reader of documents is the one to refuse it.
constexpr size_t kReadLimitBytes = (1 << 20) + 1;

absl::StatusOr<std::string> FindFile(const Environment& environment, const std::string& file) {
  if (!file.empty()) return file;
  for (const char* name : {".dstack.yml", ".dstack.yaml"}) {
    if (base::Exists(base::JoinPath(environment.working_directory, name))) return name;
  }
  return base::Invalid("No configuration file: use -f FILE, or make `.dstack.yml` here");
}

absl::StatusOr<std::string> ReadAll(int fd) {
  std::string text(kReadLimitBytes, '\0');
  size_t size = 0;
  while (size < text.size()) {
    ASSIGN_OR_RETURN(const size_t count,
                     base::ReadSome(fd, text.data() + size, text.size() - size));
    if (count == 0) break;
    size += count;
  }
  text.resize(size);
  return text;
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::ErrnoError(errno, path);
  return ReadAll(fd.get());
}

}  // namespace

absl::StatusOr<DocumentText> ReadDocumentText(const Environment& environment,
                                              const std::string& file) {
  ASSIGN_OR_RETURN(const std::string name, FindFile(environment, file));
  DocumentText result{.shown_path = name};
  if (name == "-") {
    result.shown_path = "<stdin>";
    ASSIGN_OR_RETURN(result.text, ReadAll(STDIN_FILENO));
    return result;
  }
  const std::string path = environment.ResolvePath(name, environment.working_directory);
  result.directory = std::filesystem::path(path).parent_path().string();
  ASSIGN_OR_RETURN(result.text, ReadText(path));
  return result;
}

absl::StatusOr<DocumentFile> LoadDocument(const Context& context, const std::string& file) {
  ASSIGN_OR_RETURN(const DocumentText text, ReadDocumentText(context.environment, file));
  ASSIGN_OR_RETURN(const config::Document document,
                   config::ParseDocument(text.text, text.shown_path));
  for (const config::Problem& warning : document.warnings) {
    context.terminal.PrintWarning("warning: " + config::FormatProblem(warning));
  }
  DocumentFile result{.shown_path = file == "-" ? file : text.shown_path,
                      .directory = text.directory};
  if (const auto* run = std::get_if<config::v1::RunConfiguration>(&document.configuration)) {
    result.configuration = *run;
  } else if (const auto* fleet =
                 std::get_if<config::v1::FleetConfiguration>(&document.configuration)) {
    result.configuration = *fleet;
  } else {
    const std::string type = config::TypeOf(document.configuration);
    return base::InvalidField(
        "type",
        fmt::format("`{0}` cannot be applied by this version: {1} is a valid {0}, but nothing here "
                    "acts on it; runs (`task`) and fleets can be applied",
                    type,
                    text.shown_path));
  }
  return result;
}

std::string KindOf(
    const std::variant<config::v1::RunConfiguration, config::v1::FleetConfiguration>& document) {
  if (std::holds_alternative<config::v1::FleetConfiguration>(document)) return "fleet";
  const auto& run = std::get<config::v1::RunConfiguration>(document);
  if (run.has_dev_environment()) return "dev-environment";
  return run.has_service() ? "service" : "task";
}

}  // namespace dstack::cli
