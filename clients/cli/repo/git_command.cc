#include "clients/cli/repo/git_command.h"

#include <utility>

#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"

namespace dstack::cli {
namespace {

// Largest diff and listing that is read; the server's limit for uploads is lower.
constexpr size_t kMaxOutputBytes = 1 << 30;

}  // namespace

absl::StatusOr<GitOutput> RunGit(const std::string& directory,
                                 const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& variables,
                                 std::chrono::seconds timeout) {
  std::vector<std::string> argv = {"git", "-C", directory, "-c", "core.fsmonitor=false"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  process::Options options;
  options.env = process::CurrentEnvironment();
  options.env->push_back("GIT_TERMINAL_PROMPT=0");
  options.env->push_back("LC_ALL=C");
  for (const auto& [name, value] : variables) options.env->push_back(name + "=" + value);
  options.output_limit_bytes = kMaxOutputBytes;
  auto result = process::Run(argv, timeout, options);
  if (absl::IsNotFound(result.status())) {
    return absl::NotFoundError("repos: git is not installed here");
  }
  RETURN_IF_ERROR(result.status());
  return GitOutput{.status = result->exit.ShellStatus(),
                   .out = std::move(result->stdout_text),
                   .errors = std::move(result->stderr_text)};
}

absl::StatusOr<std::string> GitLine(const std::string& directory,
                                    const std::vector<std::string>& arguments,
                                    const std::map<std::string, std::string>& variables) {
  ASSIGN_OR_RETURN(GitOutput output, RunGit(directory, arguments, variables));
  if (output.status != 0) {
    const std::string errors(absl::StripAsciiWhitespace(output.errors));
    return base::Invalid(fmt::format("repos: git {}: {}", arguments.front(), errors));
  }
  if (output.out.ends_with('\n')) output.out.pop_back();
  return std::move(output.out);
}

}  // namespace dstack::cli
