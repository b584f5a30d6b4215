#include "clients/cli/session/environment.h"

#include <cstring>
#include <memory>

#include <pwd.h>
#include <unistd.h>

#include "libs/base/file.h"

extern char** environ;

namespace dstack::cli {
namespace {

// Without $HOME (some services) the account's own entry counts.
std::string HomeOfAccount() {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &found) != 0 || found == nullptr) {
    return "";
  }
  return found->pw_dir;
}

}  // namespace

Environment Environment::FromProcess() {
  Environment environment;
  for (char** item = environ; item != nullptr && *item != nullptr; ++item) {
    const char* equals = std::strchr(*item, '=');
    if (equals == nullptr) continue;
    environment.variables[std::string(*item, static_cast<size_t>(equals - *item))] = equals + 1;
  }
  const auto home = environment.Get("HOME");
  environment.home = home.has_value() ? *home : HomeOfAccount();
  const std::unique_ptr<char, decltype(&free)> directory(getcwd(nullptr, 0), &free);
  environment.working_directory = directory == nullptr ? "/" : directory.get();
  return environment;
}

std::optional<std::string> Environment::Get(const std::string& name) const {
  const auto found = variables.find(name);
  if (found == variables.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

std::string Environment::DstackHome() const {
  const auto configured = Get("DSTACK_HOME");
  return configured.has_value() ? *configured : base::JoinPath(home, ".dstack");
}

std::string Environment::ResolvePath(const std::string& path,
                                     const std::string& base_directory) const {
  if (path == "~") return home;
  if (path.rfind("~/", 0) == 0) return base::JoinPath(home, path.substr(2));
  if (!path.empty() && path[0] == '/') return path;
  return base::JoinPath(base_directory, path);
}

}  // namespace dstack::cli
