#include "services/shim/adapters/runner_delivery.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::milliseconds kFirstRetry{200};
constexpr std::chrono::milliseconds kLastRetry{10'000};
constexpr std::chrono::seconds kLeaveTime{2};
constexpr int kMaxDoublings = 6;

}  // namespace

RunnerDelivery::RunnerDelivery(ShimHome home,
                               RunnerDeliverySettings settings,
                               exec::Executor& executor,
                               exec::TimerQueue& timers)
    : home_(std::move(home)),
      settings_(std::move(settings)),
      executor_(executor),
      timers_(timers),
      watcher_(std::make_unique<ExitWatcher>()) {}

RunnerDelivery::~RunnerDelivery() {
  std::map<std::string, Entry> entries;
  {
    base::MutexLock lock(mutex_);
    is_closing_ = true;
    entries.swap(entries_);
  }
  watcher_.reset();
}

void RunnerDelivery::Start(const std::string& task_id, const std::string& runner_dir) {
  {
    base::MutexLock lock(mutex_);
    if (is_closing_ || entries_.contains(task_id)) return;
    if (IsAcknowledged(task_id)) return;
    entries_[task_id].runner_dir = runner_dir;
  }
  executor_.Post([this, task_id] { Launch(task_id); });
}

bool RunnerDelivery::IsAcknowledged(const std::string& task_id) const {
  return base::Exists(home_.RunnerDir(task_id) + "/end_acked");
}

void RunnerDelivery::Launch(const std::string& task_id) {
  std::string runner_dir;
  {
    base::MutexLock lock(mutex_);
    const auto it = entries_.find(task_id);
    if (is_closing_ || it == entries_.end() || it->second.process) return;
    runner_dir = it->second.runner_dir;
  }
  EndPredecessor(task_id);
  auto process = Spawn(task_id, runner_dir);
  std::uint64_t generation = 0;
  std::optional<ProcessIdentity> identity;
  if (process.ok()) identity = IdentifyProcess(process->pid());
  if (identity) {
    // For the next shim; not durable, because the process does not survive a power loss either.
    const std::string line =
        fmt::format("{} {} {}\n", identity->pid, identity->start_ticks, identity->boot_id);
    static_cast<void>(base::WriteFileAtomic(IdentityPath(task_id), line, 0600).ok());
  } else {
    telemetry::Error("the rest of a task's logs cannot be served",
                     {{"task_id", task_id}, {"status", process.status()}});
  }
  {
    base::MutexLock lock(mutex_);
    const auto it = entries_.find(task_id);
    // Stopped meanwhile: the process ends with this scope.
    if (is_closing_ || it == entries_.end()) return;
    generation = it->second.generation = next_generation_++;
    if (process.ok()) it->second.process.emplace(*std::move(process));
  }
  if (!identity) return OnExit(task_id, generation);
  watcher_->Watch(*identity, [this, task_id, generation](bool has_ended) {
    if (has_ended) executor_.Post([this, task_id, generation] { OnExit(task_id, generation); });
  });
}

absl::StatusOr<process::Subprocess> RunnerDelivery::Spawn(const std::string& task_id,
                                                          const std::string& runner_dir) const {
  const std::string path = home_.TaskDir(task_id) + "/deliver.log";
  const base::UniqueFd log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) return base::ErrnoError(errno, path);
  // Not our own standard error: whoever reads that to its end would wait for this process too.
  return process::Subprocess::Start({settings_.runner_binary,
                                     "deliver",
                                     "--task-dir",
                                     runner_dir,
                                     "--socket-owner",
                                     fmt::format("{}:{}", settings_.owner, settings_.group)},
                                    {.inherit_fds = {{log.get(), STDERR_FILENO}}});
}

void RunnerDelivery::OnExit(const std::string& task_id, std::uint64_t generation) {
  std::optional<process::Subprocess> ended;
  std::chrono::milliseconds delay = kFirstRetry;
  {
    base::MutexLock lock(mutex_);
    const auto it = entries_.find(task_id);
    if (is_closing_ || it == entries_.end() || it->second.generation != generation) return;
    ended.swap(it->second.process);
    if (IsAcknowledged(task_id)) {
      entries_.erase(it);
      return;
    }
    const int doublings = std::min(it->second.attempts++, kMaxDoublings);
    delay = std::min(kLastRetry, kFirstRetry * (1 << doublings));
  }
  telemetry::Warn("the delivery of a task's logs ended early; starting it again",
                  {{"task_id", task_id}});
  timers_.PostAfter(executor_, delay, [this, task_id] { Launch(task_id); });
}

void RunnerDelivery::Stop(const std::string& task_id) {
  std::optional<process::Subprocess> process;
  {
    base::MutexLock lock(mutex_);
    const auto node = entries_.extract(task_id);
    if (!node.empty()) process.swap(node.mapped().process);
  }
  if (process) static_cast<void>(process->Terminate(kLeaveTime).ok());
  EndPredecessor(task_id);
}

std::string RunnerDelivery::IdentityPath(const std::string& task_id) const {
  return home_.TaskDir(task_id) + "/deliver";
}

void RunnerDelivery::EndPredecessor(const std::string& task_id) const {
  const auto text = base::ReadFile(IdentityPath(task_id));
  if (!text.ok()) return;
  const std::vector<std::string> words = absl::StrSplit(absl::StripAsciiWhitespace(*text), ' ');
  ProcessIdentity identity;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &identity.pid) ||
      !absl::SimpleAtoi(words[1], &identity.start_ticks)) {
    return;
  }
  identity.boot_id = words[2];
  KillProcessTree(identity);
}

}  // namespace dstack::shim
