#pragma once

#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "libs/exec/timer.h"
#include "services/shim/adapters/host_keys.h"
#include "services/shim/adapters/volume_store.h"
#include "services/shim/ports/host_resources.h"

namespace dstack::shim {

// Disks and keys of this machine. What cannot be given back, because a disk is full or a file
// system is in use, is tried again with growing pauses.
class LinuxHostResources final : public HostResources {
 public:
  // Tries run on `executor` and may block for seconds. It ends its tasks, and `timers` ends, before
  // this object does.
  LinuxHostResources(VolumeStoreSettings volumes,
                     HostKeysSettings keys,
                     exec::Executor& executor,
                     exec::TimerQueue& timers);

  void Restore(const std::vector<record::TaskRecord>& live) override;
  absl::StatusOr<std::vector<v1::BindMount>> Prepare(const v1::TaskSpec& spec,
                                                     const std::stop_token& stop) override;
  absl::Status OpenPorts(const v1::TaskSpec& spec,
                         const std::vector<std::uint16_t>& ports) override;
  absl::Status Release(const v1::TaskSpec& spec) override;

 private:
  void RetryLater();
  void Retry();

  VolumeStore volumes_;
  HostKeys keys_;
  exec::Executor& executor_;
  exec::TimerQueue& timers_;
  base::Mutex mutex_;
  bool is_retry_due_ GUARDED_BY(mutex_) = false;
  int retries_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dstack::shim
