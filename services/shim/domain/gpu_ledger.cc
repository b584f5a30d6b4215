#include "services/shim/domain/gpu_ledger.h"

#include <algorithm>
#include <utility>

#include <absl/status/status.h>
#include <fmt/format.h>

#include "services/shim/domain/gpu_choice.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using Ids = std::vector<std::string>;

}  // namespace

bool GpuLedger::Entry::IsFree() const {
  return holder.empty() && is_present && gpu.health() != common::v1::HEALTH_STATUS_FAILURE;
}

GpuLedger::GpuLedger(const Ids& ids) {
  std::vector<Gpu> gpus;
  for (const std::string& id : ids) gpus.emplace_back().set_resource_id(id);
  SetDevices(gpus, {});
}

void GpuLedger::SetDevices(const std::vector<Gpu>& gpus, std::vector<v1::GpuLink> links) {
  base::MutexLock lock(mutex_);
  std::vector<Entry> next;
  for (const Gpu& gpu : gpus) {
    const Entry* known = Find(gpu.resource_id());
    next.push_back({.gpu = gpu, .holder = known ? known->holder : "", .is_present = true});
  }
  for (Entry& entry : entries_) {
    const bool is_gone = std::none_of(gpus.begin(), gpus.end(), [&](const Gpu& gpu) {
      return gpu.resource_id() == entry.gpu.resource_id();
    });
    if (!is_gone) continue;
    entry.is_present = false;
    next.push_back(std::move(entry));
  }
  entries_ = std::move(next);
  links_ = std::move(links);
  DropForgotten();
}

absl::StatusOr<Ids> GpuLedger::Acquire(const std::string& holder, int count) {
  if (count == 0 || count < -1) {
    return absl::InvalidArgumentError(
        fmt::format("gpu_count: {} cannot be acquired; it must be -1 or above 0", count));
  }
  base::MutexLock lock(mutex_);
  std::vector<Entry*> free;
  std::vector<Gpu> devices;
  for (Entry& entry : entries_) {
    if (!entry.IsFree()) continue;
    free.push_back(&entry);
    devices.push_back(entry.gpu);
  }
  if (std::cmp_greater(count, free.size())) {
    return absl::ResourceExhaustedError(
        fmt::format("{} accelerators were requested, {} are free", count, free.size()));
  }
  const std::size_t wanted = count == -1 ? free.size() : static_cast<std::size_t>(count);
  Ids taken;
  for (const std::size_t index : PickDevices(devices, links_, wanted)) {
    free[index]->holder = holder;
    taken.push_back(free[index]->gpu.resource_id());
  }
  return taken;
}

Ids GpuLedger::Lock(const std::string& holder, const Ids& ids) {
  base::MutexLock lock(mutex_);
  Ids taken;
  for (const std::string& id : ids) {
    Entry* entry = Find(id);
    if (entry == nullptr) {
      entries_.push_back({.holder = holder});
      entries_.back().gpu.set_resource_id(id);
    } else if (entry->holder.empty()) {
      // Also a failed one: the holder has it, whatever became of it.
      entry->holder = holder;
      taken.push_back(id);
    }
  }
  return taken;
}

Ids GpuLedger::Release(const std::string& holder) {
  base::MutexLock lock(mutex_);
  Ids released;
  for (Entry& entry : entries_) {
    if (entry.holder != holder) continue;
    entry.holder.clear();
    if (entry.is_present) released.push_back(entry.gpu.resource_id());
  }
  DropForgotten();
  return released;
}

std::vector<std::pair<std::string, std::string>> GpuLedger::Dump() const {
  base::MutexLock lock(mutex_);
  std::vector<std::pair<std::string, std::string>> all;
  for (const Entry& entry : entries_) all.emplace_back(entry.gpu.resource_id(), entry.holder);
  return all;
}

std::vector<Gpu> GpuLedger::Describe(const Ids& ids) const {
  base::MutexLock lock(mutex_);
  std::vector<Gpu> gpus;
  for (const std::string& id : ids) {
    for (const Entry& entry : entries_) {
      // One that was never seen has no vendor, and nothing could be made of it.
      if (entry.gpu.resource_id() == id) gpus.push_back(entry.gpu);
    }
  }
  return gpus;
}

std::size_t GpuLedger::free_count() const {
  base::MutexLock lock(mutex_);
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.IsFree(); }));
}

GpuLedger::Entry* GpuLedger::Find(const std::string& id) {
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.gpu.resource_id() == id;
  });
  return it == entries_.end() ? nullptr : &*it;
}

void GpuLedger::DropForgotten() {
  std::erase_if(entries_,
                [](const Entry& entry) { return !entry.is_present && entry.holder.empty(); });
}

}  // namespace dstack::shim
