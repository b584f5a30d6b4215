#include "services/server/api/watch_hub.h"

#include <utility>

namespace dstack::server {
namespace {

absl::StatusOr<WatchHub::Snapshot> LoadSnapshot(RunStore& runs, const RunId& id) {
  auto loaded = runs.LoadById(id);
  if (!loaded.ok()) return loaded.status();
  return std::make_shared<const RunAndJobs>(*std::move(loaded));
}

}  // namespace

WatchHub::WatchHub(RunStore& runs, Notifications& notifications, exec::Executor& pool)
    : runs_(runs), pool_(pool) {
  subscription_ = notifications.Subscribe(channel::kRun, [this](const std::string& payload) {
    if (payload.empty()) {
      LookAgain();
    } else {
      Touch(RunId(payload));
    }
  });
}

WatchHub::~WatchHub() = default;

std::unique_ptr<WatchHub::Watch> WatchHub::Add(const RunId& run, Callback callback) {
  std::uint64_t id = 0;
  {
    base::MutexLock lock(mutex_);
    id = next_id_++;
    topics_[run].watchers[id] = std::make_shared<Callback>(std::move(callback));
  }
  Touch(run);
  return std::unique_ptr<Watch>(new Watch(*this, run, id));
}

void WatchHub::LookAgain() {
  std::vector<RunId> runs;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [run, topic] : topics_) runs.push_back(run);
  }
  for (const RunId& run : runs) Touch(run);
}

void WatchHub::Touch(const RunId& run) {
  {
    base::MutexLock lock(mutex_);
    const auto it = topics_.find(run);
    if (it == topics_.end()) return;
    it->second.is_stale = true;
    if (it->second.is_loading) return;
    it->second.is_loading = true;
    it->second.is_stale = false;
  }
  pool_.Post([this, run] { Load(run); });
}

void WatchHub::Load(const RunId& run) {
  do {
    const absl::StatusOr<Snapshot> snapshot = LoadSnapshot(runs_, run);
    for (const auto& callback : Watchers(run)) (*callback)(snapshot);
  } while (FinishLoading(run));
}

std::vector<std::shared_ptr<WatchHub::Callback>> WatchHub::Watchers(const RunId& run) {
  base::MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Callback>> callbacks;
  const auto it = topics_.find(run);
  if (it == topics_.end()) return callbacks;
  for (const auto& [id, callback] : it->second.watchers) callbacks.push_back(callback);
  return callbacks;
}

bool WatchHub::FinishLoading(const RunId& run) {
  base::MutexLock lock(mutex_);
  const auto it = topics_.find(run);
  if (it == topics_.end()) return false;
  if (it->second.watchers.empty()) {
    topics_.erase(it);
    return false;
  }
  if (it->second.is_stale) {
    it->second.is_stale = false;
    return true;
  }
  it->second.is_loading = false;
  return false;
}

void WatchHub::Leave(const RunId& run, std::uint64_t id) {
  base::MutexLock lock(mutex_);
  const auto it = topics_.find(run);
  if (it == topics_.end()) return;
  it->second.watchers.erase(id);
  // A load under way takes the topic with it when it ends.
  if (it->second.watchers.empty() && !it->second.is_loading) topics_.erase(it);
}

}  // namespace dstack::server
