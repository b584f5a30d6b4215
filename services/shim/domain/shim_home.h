#pragma once

#include <string>
#include <string_view>

namespace dstack::shim {

// Names of everything below the shim's home directory. Nothing is made here.
class ShimHome {
 public:
  explicit ShimHome(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string Socket() const { return Path("shim.sock"); }
  std::string Lock() const { return Path("lock"); }
  std::string Epoch() const { return Path("epoch"); }
  std::string ServerId() const { return Path("server_id"); }
  std::string ShimId() const { return Path("shim_id"); }
  std::string Runtime() const { return Path("runtime"); }
  // Why no new tasks are taken; absent when they are.
  std::string Drain() const { return Path("drain"); }
  // Which components run; see update/release.h.
  std::string Release() const { return Path("release.json"); }
  // Programs that a server installed, and how it starts the shim.
  std::string Programs() const { return Path("bin"); }
  std::string StartScript() const { return Path("start-shim"); }

  // What the shim has pulled, so that it may remove it.
  std::string PulledImages() const { return Path("images.json"); }
  // Disks that the shim has mounted, and accounts that it gave keys to.
  std::string MountedVolumes() const { return Path("volumes.json"); }
  std::string KeyAccounts() const { return Path("key_accounts.json"); }

  std::string Tasks() const { return Path("tasks"); }
  std::string TaskDir(std::string_view task_id) const;
  // What the runner of a task sees as its task directory.
  std::string RunnerDir(std::string_view task_id) const;
  // What the engine told during the pull of the task's image.
  std::string PullLog(std::string_view task_id) const;
  // The same directory through a symlink: a Unix socket's path ends at 108 bytes, and the plain
  // path below a home of ordinary depth is longer than that.
  std::string ShortRunnerDir(std::string_view task_id) const;
  std::string ShortNames() const { return Path("s"); }
  std::string RunnerSocket(std::string_view task_id) const;

  // Where directories go that are being deleted, and those whose record could not be read.
  std::string Trash() const { return Path("trash"); }
  std::string Damaged() const { return Path("damaged"); }

 private:
  std::string Path(std::string_view name) const;

  std::string root_;
};

// Longest home that leaves room for the sockets below it.
inline constexpr std::size_t kMaxHomeBytes = 80;

}  // namespace dstack::shim
