#pragma once

#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/common/v1/resources.pb.h"
#include "dstack/shim/v1/host.pb.h"

#include "libs/base/mutex.h"

namespace dstack::shim {

// Which task holds which accelerator of the host; each is held by one task at most. Thread-safe.
// Nothing is kept on disk: after a restart the live tasks' records are locked again.
class GpuLedger {
 public:
  GpuLedger() = default;
  // Devices that are only known by their ids.
  explicit GpuLedger(const std::vector<std::string>& ids);

  // What the host has now, in the order of its tools. A device that is not in the list any more, or
  // that has failed, is not given out; whoever holds it keeps it until the release. Devices that
  // were locked before they were known belong to their holder.
  void SetDevices(const std::vector<common::v1::Gpu>& gpus, std::vector<v1::GpuLink> links);

  // Takes `count` free ones for `holder`, those that are linked best (see PickDevices), or all free
  // ones (perhaps none) when count is -1.
  // RESOURCE_EXHAUSTED states how many were wanted and how many are free, and takes nothing;
  // INVALID_ARGUMENT for 0 and below -1.
  absl::StatusOr<std::vector<std::string>> Acquire(const std::string& holder, int count);

  // Takes these for `holder`; returns those that were known and free. Ids that are not known are
  // kept for `holder` in case their device appears.
  std::vector<std::string> Lock(const std::string& holder, const std::vector<std::string>& ids);

  // Gives back all that `holder` has; nobody else's. Idempotent. Returns what was given back.
  std::vector<std::string> Release(const std::string& holder);

  // Devices with these ids, as far as they are known, in the order of `ids`.
  std::vector<common::v1::Gpu> Describe(const std::vector<std::string>& ids) const;

  // Free and fit for use.
  std::size_t free_count() const;

  // Each accelerator with its holder (empty: free), in the order of the host's tool.
  std::vector<std::pair<std::string, std::string>> Dump() const;

 private:
  struct Entry {
    common::v1::Gpu gpu;
    std::string holder;       // empty: free
    bool is_present = false;  // among the host's devices now

    bool IsFree() const;
  };

  Entry* Find(const std::string& id) REQUIRES(mutex_);
  void DropForgotten() REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::vector<v1::GpuLink> links_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
