#include "clients/cli/commands/local_commands.h"

#include <cerrno>
#include <filesystem>

#include <unistd.h>

#include "libs/base/status.h"

namespace dstack::cli {
namespace {

std::string ServerPath() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "dstack-server";
  const auto beside = self.parent_path() / "dstack-server";
  return std::filesystem::exists(beside, error) ? beside.string() : "dstack-server";
}

}  // namespace

absl::Status ExecServer(const std::vector<std::string>& arguments) {
  const std::string path = ServerPath();
  std::vector<char*> argv{const_cast<char*>("dstack-server")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execvp(path.c_str(), argv.data());
  return base::ErrnoError(errno, path);
}

}  // namespace dstack::cli
