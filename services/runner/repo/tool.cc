#include "services/runner/repo/tool.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/sshd/bundle.h"

namespace dstack::runner {
namespace {

constexpr int kExitNotExecuted = 126;
constexpr int kExitNotFound = 127;
constexpr char kAsUser[] = "as-user";

struct Tool {
  std::string_view name;
  std::string_view program;  // in the bundle
};
constexpr std::array kTools = {Tool{"git", "bin/git"},
                               Tool{"git-remote-http", "libexec/git-remote-http"},
                               Tool{"git-remote-https", "libexec/git-remote-http"},
                               Tool{"ssh", "bin/ssh"}};

// Nothing of the container's or the user's ssh configuration, no questions, no agent. Host keys are
// not known here, as in every clone by a machine that was born a minute ago.
std::vector<std::string> SshOptions() {
  std::vector<std::string> options = {"-F", "none"};
  for (const char* option : {"BatchMode=yes",
                             "StrictHostKeyChecking=no",
                             "UserKnownHostsFile=/dev/null",
                             "GlobalKnownHostsFile=/dev/null",
                             "LogLevel=ERROR",
                             "IdentitiesOnly=yes",
                             "IdentityAgent=none",
                             "ConnectTimeout=30",
                             "ServerAliveInterval=15"}) {
    options.insert(options.end(), {"-o", option});
  }
  const char* key = std::getenv(kToolSshKey);
  options.insert(options.end(), {"-i", key != nullptr ? key : "/dev/null"});
  return options;
}

int Execute(const std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (const std::string& text : argv) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  execv(argv.front().c_str(), pointers.data());
  fmt::print(stderr, "cannot execute {}: {}\n", argv.front(), std::strerror(errno));
  return kExitNotExecuted;
}

template <typename Id>
bool ParseIds(const char* text, std::vector<Id>* ids) {
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    std::uint32_t id = 0;
    if (!absl::SimpleAtoi(part, &id)) return false;
    ids->push_back(id);
  }
  return !ids->empty();
}

// PR_SET_PDEATHSIG comes last: a change of the user clears it.
bool Become(uid_t uid, const std::vector<gid_t>& groups) {
  return setgroups(groups.size(), groups.data()) == 0 && setgid(groups.front()) == 0 &&
         setuid(uid) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

}  // namespace

absl::Status MakeToolLinks(const std::string& dir) {
  RETURN_IF_ERROR(base::MakeDirs(dir, 0755));
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return base::ErrnoError(error.value(), "/proc/self/exe");
  for (const Tool& tool : kTools) {
    const std::string link = base::JoinPath(dir, tool.name);
    if (symlink(self.c_str(), link.c_str()) != 0) return base::ErrnoError(errno, link);
  }
  return absl::OkStatus();
}

std::optional<int> RunAsTool(int argc, char** argv) {
  const char* bundle = std::getenv(kToolBundle);
  if (bundle == nullptr || argc < 1) return std::nullopt;
  const std::string name = std::filesystem::path(argv[0]).filename();
  for (const Tool& tool : kTools) {
    if (tool.name != name) continue;
    auto command = BundleCommand(bundle, std::string(tool.program), name);
    if (!command.ok()) {
      fmt::print(stderr, "{}\n", base::Message(command.status()));
      return kExitNotExecuted;
    }
    if (name == "ssh") {
      if (std::getenv(kAccountsPasswd) != nullptr) UseOwnAccounts(bundle, &*command);
      const std::vector<std::string> options = SshOptions();
      command->insert(command->end(), options.begin(), options.end());
    }
    command->insert(command->end(), argv + 1, argv + argc);
    return Execute(*command);
  }
  return std::nullopt;
}

std::vector<std::string> AsUser(const JobUser& user, std::vector<std::string> argv) {
  // The own group first, then all.
  std::vector<gid_t> groups = {user.gid};
  groups.insert(groups.end(), user.groups.begin(), user.groups.end());
  std::vector<std::string> result = {
      "/proc/self/exe", kAsUser, std::to_string(user.uid), absl::StrJoin(groups, ",")};
  result.insert(result.end(), argv.begin(), argv.end());
  return result;
}

std::optional<int> RunAsUser(int argc, char** argv) {
  if (argc < 5 || std::strcmp(argv[1], kAsUser) != 0) return std::nullopt;
  std::vector<uid_t> uid;
  std::vector<gid_t> groups;
  if (!ParseIds(argv[2], &uid) || !ParseIds(argv[3], &groups)) {
    fmt::print(stderr, "{}: wrong ids\n", kAsUser);
    return kExitNotExecuted;
  }
  if (!Become(uid.front(), groups)) {
    fmt::print(stderr, "cannot become user {}: {}\n", uid.front(), std::strerror(errno));
    return kExitNotExecuted;
  }
  return Execute({argv + 4, argv + argc});
}

std::optional<int> RunAsShell(int argc, char** argv) {
  const bool is_login = argc >= 1 && argv[0][0] == '-';
  const bool is_command = argc >= 2 && std::strcmp(argv[1], "-c") == 0;
  if (!is_login && !is_command) return std::nullopt;
  fmt::print(stderr, "this image has no shell; sftp and port forwards work\n");
  return kExitNotFound;
}

}  // namespace dstack::runner
