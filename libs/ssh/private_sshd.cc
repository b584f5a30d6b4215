#include "libs/ssh/private_sshd.h"

#include <array>
#include <chrono>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <poll.h>
#include <pwd.h>
#include <shadow.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/net/free_port.h"
#include "libs/process/reaper.h"
#include "libs/process/subprocess.h"
#include "libs/ssh/keys.h"

namespace dstack::ssh {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStartTimeout{10'000};
constexpr milliseconds kStartCheck{5};
constexpr milliseconds kStopTimeout{5'000};

std::string CurrentUser() {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(getuid(), &entry, buffer.data(), buffer.size(), &found);
  return found != nullptr ? found->pw_name : "";
}

// Without PAM sshd refuses accounts whose password is locked, which is how many systems ship root.
bool IsPasswordLocked(const std::string& user) {
  std::array<char, 4096> buffer{};
  spwd entry{};
  spwd* found = nullptr;
  getspnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  return found != nullptr && found->sp_pwdp != nullptr && found->sp_pwdp[0] == '!';
}

absl::StatusOr<std::string> FindSshd() {
  for (const char* name : {"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"}) {
    if (access(name, X_OK) == 0) return name;
  }
  auto found = process::FindProgram("sshd");
  if (found.ok()) return found;
  return absl::NotFoundError("no sshd on this machine: install the package openssh-server");
}

// sshd wants its own program by absolute path and the directory for its unprivileged half.
absl::Status MakeRunDir() {
  if (getuid() != 0) return absl::OkStatus();
  return base::MakeDirs("/run/sshd", 0755);
}

bool RunsWithConfig(pid_t pid, const std::string& config) {
  const auto command = base::ReadFile(fmt::format("/proc/{}/cmdline", pid));
  return command.ok() && command->find(config) != std::string::npos;
}

}  // namespace

PrivateSshd::PrivateSshd(std::string directory, std::string extra_config)
    : directory_(std::move(directory)),
      extra_config_(std::move(extra_config)),
      user_(CurrentUser()) {}

PrivateSshd::~PrivateSshd() {
  if (child_.has_value()) child_->Detach();
}

std::string PrivateSshd::Path(const char* name) const { return base::JoinPath(directory_, name); }

absl::Status PrivateSshd::EnsureHostKey() {
  const auto existing = base::ReadFile(Path("host_key.pub"));
  if (existing.ok() && base::Exists(Path("host_key"))) {
    ASSIGN_OR_RETURN(host_key_, BareKey(*existing));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const KeyPair pair, GenerateKeyPair("dstack local host"));
  RETURN_IF_ERROR(base::WriteFileAtomic(Path("host_key"), pair.private_key.Reveal(), 0600));
  RETURN_IF_ERROR(base::WriteFileAtomic(Path("host_key.pub"), pair.public_key + "\n", 0644));
  ASSIGN_OR_RETURN(host_key_, BareKey(pair.public_key));
  return absl::OkStatus();
}

absl::Status PrivateSshd::WriteConfig() {
  const bool uses_pam = getuid() == 0 && IsPasswordLocked(user_) && base::Exists("/etc/pam.d/sshd");
  const std::string config = fmt::format(
      "# Written by dstack. Logins of {user} to this machine, for its own server only.\n"
      "ListenAddress 127.0.0.1\n"
      "Port {port}\n"
      "HostKey \"{dir}/host_key\"\n"
      "PidFile \"{dir}/sshd.pid\"\n"
      "AuthorizedKeysFile \"{dir}/authorized_keys\"\n"
      "AllowUsers {user}\n"
      "PermitRootLogin prohibit-password\n"
      "PubkeyAuthentication yes\n"
      "PasswordAuthentication no\n"
      "KbdInteractiveAuthentication no\n"
      "UsePAM {pam}\n"
      "StrictModes no\n"
      "PrintMotd no\n"
      "UseDNS no\n"
      "X11Forwarding no\n"
      "AllowAgentForwarding no\n"
      "AllowTcpForwarding yes\n"
      "AllowStreamLocalForwarding yes\n"
      "MaxStartups 100\n"
      "MaxSessions 100\n"
      "ClientAliveInterval 15\n"
      "ClientAliveCountMax 4\n",
      fmt::arg("user", user_),
      fmt::arg("port", port_),
      fmt::arg("dir", directory_),
      fmt::arg("pam", uses_pam ? "yes" : "no"));
  RETURN_IF_ERROR(base::WriteFileAtomic(Path("port"), fmt::format("{}\n", port_), 0600));
  return base::WriteFileAtomic(Path("sshd_config"), config + extra_config_, 0600);
}

bool PrivateSshd::FindRunning() {
  const auto pid_text = base::ReadFile(Path("sshd.pid"));
  const auto port_text = base::ReadFile(Path("port"));
  std::int32_t pid = 0;
  std::uint32_t port = 0;
  if (port_text.ok() && absl::SimpleAtoi(*port_text, &port) && port <= UINT16_MAX) {
    port_ = static_cast<std::uint16_t>(port);
  }
  if (port_ == 0 || !pid_text.ok() || !absl::SimpleAtoi(*pid_text, &pid) || pid <= 0) return false;
  if (!RunsWithConfig(pid, Path("sshd_config")) || !net::IsListening(port_)) return false;
  pid_ = pid;
  return true;
}

absl::Status PrivateSshd::Start() {
  ASSIGN_OR_RETURN(const std::string program, FindSshd());
  RETURN_IF_ERROR(MakeRunDir());
  // Who connects knows the host by its port, so the old one is kept where that is possible.
  if (port_ == 0 || net::IsListening(port_)) {
    ASSIGN_OR_RETURN(port_, net::FreePort());
  }
  RETURN_IF_ERROR(WriteConfig());
  RETURN_IF_ERROR(base::RemoveAll(Path("sshd.pid")));
  ASSIGN_OR_RETURN(auto sshd,
                   process::Subprocess::Start(
                       {program, "-D", "-f", Path("sshd_config"), "-E", Path("sshd.log")}));
  const auto deadline = base::DeadlineIn(kStartTimeout);
  while (!net::IsListening(port_)) {
    const auto ended = sshd.WaitUntil(base::DeadlineIn(kStartCheck));
    if (ended.ok() || base::DeadlineIn(milliseconds(0)) > deadline) {
      const std::string log = base::ReadFile(Path("sshd.log")).value_or("");
      const std::size_t begin = log.size() > 500 ? log.size() - 500 : 0;
      return absl::FailedPreconditionError(base::ToAbsl(
          fmt::format("the private sshd on port {} did not start: {}", port_, log.substr(begin))));
    }
  }
  pid_ = sshd.pid();
  child_ = std::move(sshd);
  return absl::OkStatus();
}

absl::Status PrivateSshd::EnsureRunning(const std::vector<std::string>& authorized_keys) {
  if (user_.empty()) {
    return absl::FailedPreconditionError(base::ToAbsl(
        fmt::format("user id {} has no entry in /etc/passwd: sshd cannot let it in", getuid())));
  }
  RETURN_IF_ERROR(base::MakeDirs(directory_, 0700));
  RETURN_IF_ERROR(EnsureHostKey());
  RETURN_IF_ERROR(base::WriteFileAtomic(
      Path("authorized_keys"), absl::StrJoin(authorized_keys, "\n") + "\n", 0600));
  if (FindRunning()) return absl::OkStatus();
  return Start();
}

absl::Status PrivateSshd::Stop(bool cut) {
  if (pid_ == 0 && !FindRunning()) return absl::OkStatus();
  const pid_t pid = std::exchange(pid_, 0);
  const std::vector<pid_t> sessions = cut ? process::DescendantsOf(pid) : std::vector<pid_t>();
  const base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  kill(pid, SIGTERM);
  for (const pid_t session : sessions) kill(session, SIGKILL);
  if (child_.has_value()) {
    absl::Status ended = child_->WaitUntil(base::DeadlineIn(kStopTimeout)).status();
    child_.reset();
    return ended;
  }
  if (!pidfd) return absl::OkStatus();
  pollfd poller{pidfd.get(), POLLIN, 0};
  if (poll(&poller, 1, static_cast<int>(kStopTimeout.count())) == 1) return absl::OkStatus();
  return absl::DeadlineExceededError(base::ToAbsl(fmt::format("sshd {} did not end", pid)));
}

}  // namespace dstack::ssh
