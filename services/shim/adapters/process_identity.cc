#include "services/shim/adapters/process_identity.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/process/proc_stat.h"
#include "libs/process/reaper.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::seconds kKillTimeout{5};
constexpr std::chrono::milliseconds kKillPause{2};
constexpr std::size_t kMaxEnvironBytes = std::size_t{4} << 20;

std::string BootId() {
  std::string id = base::ReadFile("/proc/sys/kernel/random/boot_id").value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

// All entries of all processes, those of one process in a row.
void ForEachEnvEntry(const std::function<void(pid_t, std::string_view)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return;
  while (const dirent* item = ::readdir(proc.get())) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(item->d_name, &pid)) continue;
    const auto environ = base::ReadFile(fmt::format("/proc/{}/environ", pid), kMaxEnvironBytes);
    if (!environ.ok()) continue;
    for (const absl::string_view entry : absl::StrSplit(*environ, '\0')) {
      visit(pid, base::ToStd(entry));
    }
  }
}

}  // namespace

std::optional<ProcessIdentity> IdentifyProcess(pid_t pid) {
  const auto stat = process::FindProcess(pid);
  if (!stat) return std::nullopt;
  return ProcessIdentity{.pid = pid, .start_ticks = stat->start_ticks, .boot_id = BootId()};
}

bool IsAlive(const ProcessIdentity& identity) {
  if (identity.pid <= 0 || identity.boot_id != BootId()) return false;
  const auto stat = process::FindProcess(identity.pid);
  return stat && stat->start_ticks == identity.start_ticks && !stat->has_ended();
}

base::UniqueFd OpenPidFd(const ProcessIdentity& identity) {
  base::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  // The descriptor is of whoever has the pid now: looked at after it was opened.
  return IsAlive(identity) ? std::move(fd) : base::UniqueFd();
}

std::vector<pid_t> ProcessesWithEnv(const std::string& entry) {
  std::vector<pid_t> pids;
  ForEachEnvEntry([&](pid_t pid, std::string_view value) {
    if (value == entry && (pids.empty() || pids.back() != pid)) pids.push_back(pid);
  });
  return pids;
}

std::set<std::string> EnvSuffixes(const std::string& prefix) {
  std::set<std::string> suffixes;
  ForEachEnvEntry([&](pid_t, std::string_view value) {
    if (value.starts_with(prefix)) suffixes.emplace(value.substr(prefix.size()));
  });
  return suffixes;
}

void KillProcessTree(const ProcessIdentity& identity) {
  if (!IsAlive(identity)) return;
  ::kill(identity.pid, SIGSTOP);
  const auto deadline = base::DeadlineIn(kKillTimeout);
  // It waits for no child now, so this tells of the whole tree.
  while (std::chrono::steady_clock::now() < deadline) {
    const std::vector<pid_t> live = process::LiveChildrenOf(identity.pid, {});
    if (live.empty()) break;
    // At once, as some may be about to start another and end.
    for (const pid_t pid : live) ::kill(pid, SIGKILL);
    for (const pid_t pid : process::DescendantsOf(identity.pid)) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(kKillPause);
  }
  if (IsAlive(identity)) ::kill(identity.pid, SIGKILL);
  while (IsAlive(identity) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kKillPause);
  }
}

}  // namespace dstack::shim
