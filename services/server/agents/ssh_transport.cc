#include "services/server/agents/ssh_transport.h"

#include <cerrno>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/ssh/master.h"

namespace dstack::server {
namespace {

constexpr int kHandshakesPerAddress = 6;
constexpr const char* kLockName = "lock";

ssh::Login LoginOf(const SshHop& hop) {
  ssh::Login login;
  login.hostname = hop.hostname;
  login.port = hop.port;
  login.user = hop.user;
  login.private_keys = hop.private_keys;
  login.host_key = hop.host_key;
  return login;
}

class SshTransport final : public HostTransport {
 public:
  SshTransport(ssh::MasterOptions options, ssh::PipeWatcher& watcher, HandshakeGate& gate)
      : options_(std::move(options)), watcher_(watcher), gate_(gate) {}

  absl::Status Connect(std::stop_token stop) override {
    const ssh::Login& first = options_.jump.has_value() ? *options_.jump : options_.host;
    const std::string address = fmt::format("{}:{}", first.hostname, first.port);
    if (!gate_.Enter(address, stop)) return absl::CancelledError("the connection was given up");
    auto master = ssh::Master::Open(options_, watcher_, stop);
    gate_.Leave(address);
    if (!master.ok()) return master.status();
    master_ = *std::move(master);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Forward(const std::string& remote_socket) override {
    return master_->AddForward(remote_socket);
  }
  void RemoveForward(const std::string& remote_socket) override {
    master_->RemoveForward(remote_socket);
  }

  absl::StatusOr<ExecResult> Exec(const std::vector<std::string>& argv,
                                  std::chrono::milliseconds timeout,
                                  std::optional<std::string> input,
                                  std::stop_token stop) override {
    ASSIGN_OR_RETURN(process::RunResult result,
                     master_->Exec(argv, timeout, std::move(input), stop));
    return ExecResult{
        result.exit.ShellStatus(), std::move(result.stdout_text), std::move(result.stderr_text)};
  }

  std::string HostKey() const override { return master_ == nullptr ? "" : master_->host_key(); }

 private:
  const ssh::MasterOptions options_;
  ssh::PipeWatcher& watcher_;
  HandshakeGate& gate_;
  std::unique_ptr<ssh::Master> master_;
};

// The lock of a directory goes with the process that holds it, however that ends.
base::UniqueFd TryLock(const std::string& directory, int extra_flags) {
  base::UniqueFd fd(
      open(base::JoinPath(directory, kLockName).c_str(), O_RDWR | O_CLOEXEC | extra_flags, 0600));
  if (!fd || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return base::UniqueFd();
  return fd;
}

void RemoveAbandoned(const std::string& parent, const std::string& prefix) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    if (entry.path().filename().string().rfind(prefix, 0) != 0) continue;
    // One without a lock file is being made right now.
    const base::UniqueFd lock = TryLock(entry.path(), 0);
    if (lock) static_cast<void>(base::RemoveAll(entry.path()));
  }
}

}  // namespace

bool HandshakeGate::Enter(const std::string& address, std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    base::MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  base::MutexLock lock(mutex_);
  while (running_[address] >= per_address_ && !stop.stop_requested()) changed_.Wait(mutex_);
  if (stop.stop_requested()) return false;
  ++running_[address];
  return true;
}

void HandshakeGate::Leave(const std::string& address) {
  base::MutexLock lock(mutex_);
  if (--running_[address] == 0) running_.erase(address);
  changed_.NotifyAll();
}

absl::StatusOr<std::unique_ptr<SshTransports>> SshTransports::Create(const std::string& parent) {
  const std::string prefix = fmt::format("dstack-ssh-{}-", getuid());
  RemoveAbandoned(parent, prefix);
  std::string directory = base::JoinPath(parent, prefix + "XXXXXX");
  if (mkdtemp(directory.data()) == nullptr) return base::ErrnoError(errno, "making " + directory);
  base::UniqueFd lock = TryLock(directory, O_CREAT);
  if (!lock) return base::ErrnoError(errno, "locking " + directory);
  return std::unique_ptr<SshTransports>(new SshTransports(std::move(directory), std::move(lock)));
}

SshTransports::SshTransports(std::string directory, base::UniqueFd lock)
    : directory_(std::move(directory)), lock_(std::move(lock)), gate_(kHandshakesPerAddress) {}

SshTransports::~SshTransports() { static_cast<void>(base::RemoveAll(directory_)); }

std::unique_ptr<HostTransport> SshTransports::Make(const Instance&,
                                                   const HostConnection& connection,
                                                   OnBroken on_broken) {
  ssh::MasterOptions options;
  options.host = LoginOf(connection.host);
  if (connection.jump.has_value()) options.jump = LoginOf(*connection.jump);
  options.on_broken = std::move(on_broken);
  {
    base::MutexLock lock(mutex_);
    options.directory = base::JoinPath(directory_, std::to_string(next_++));
  }
  return std::make_unique<SshTransport>(std::move(options), watcher_, gate_);
}

}  // namespace dstack::server
