#include "services/shim/domain/gpu_ledger.h"

#include <algorithm>
#include <utility>

#include <absl/status/status.h>
#include <fmt/format.h>

namespace dstack::shim {

GpuLedger::GpuLedger(std::vector<std::string> ids) {
  for (std::string& id : ids) entries_.push_back({std::move(id), ""});
}

absl::StatusOr<std::vector<std::string>> GpuLedger::Acquire(const std::string& holder, int count) {
  if (count == 0 || count < -1) {
    return absl::InvalidArgumentError(
        fmt::format("gpu_count: {} cannot be acquired; it must be -1 or above 0", count));
  }
  base::MutexLock lock(mutex_);
  const auto is_free = [](const Entry& entry) { return entry.holder.empty(); };
  const auto free = std::count_if(entries_.begin(), entries_.end(), is_free);
  if (count > free) {
    return absl::ResourceExhaustedError(
        fmt::format("{} accelerators were requested, {} are free", count, free));
  }
  std::vector<std::string> taken;
  for (Entry& entry : entries_) {
    if (count != -1 && std::cmp_equal(taken.size(), count)) break;
    if (!is_free(entry)) continue;
    entry.holder = holder;
    taken.push_back(entry.id);
  }
  return taken;
}

std::vector<std::string> GpuLedger::Lock(const std::string& holder,
                                         const std::vector<std::string>& ids) {
  base::MutexLock lock(mutex_);
  std::vector<std::string> taken;
  for (Entry& entry : entries_) {
    if (!entry.holder.empty() || std::find(ids.begin(), ids.end(), entry.id) == ids.end()) continue;
    entry.holder = holder;
    taken.push_back(entry.id);
  }
  return taken;
}

std::vector<std::string> GpuLedger::Release(const std::string& holder) {
  base::MutexLock lock(mutex_);
  std::vector<std::string> released;
  for (Entry& entry : entries_) {
    if (entry.holder != holder) continue;
    entry.holder.clear();
    released.push_back(entry.id);
  }
  return released;
}

std::size_t GpuLedger::free_count() const {
  base::MutexLock lock(mutex_);
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.holder.empty(); }));
}

}  // namespace dstack::shim
