#include "services/runner/sshd/bundle.h"

#include <filesystem>

#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"

namespace dstack::runner {
namespace {

absl::StatusOr<std::string> FindLoader(const std::string& lib_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(lib_dir, error)) {
    if (entry.path().filename().string().starts_with("ld-linux")) return entry.path().string();
  }
  return absl::NotFoundError(fmt::format("no loader in {}", lib_dir));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> BundleCommand(const std::string& bundle_dir,
                                                       const std::string& program,
                                                       const std::string& argv0) {
  const std::string lib_dir = base::JoinPath(bundle_dir, "lib");
  ASSIGN_OR_RETURN(const std::string loader, FindLoader(lib_dir));
  std::vector<std::string> command = {loader, "--library-path", lib_dir};
  if (!argv0.empty()) command.insert(command.end(), {"--argv0", argv0});
  command.push_back(base::JoinPath(bundle_dir, program));
  return command;
}

void UseOwnAccounts(const std::string& bundle_dir, std::vector<std::string>* command) {
  const std::string library = base::JoinPath(bundle_dir, "lib/libdstack-sshd-accounts.so");
  // Behind the loader.
  command->insert(command->begin() + 1, {"--preload", library});
}

}  // namespace dstack::runner
