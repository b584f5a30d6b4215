#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "services/shim/ports/host_resources.h"

namespace dstack::shim {

// Disks and keys in memory, for tests. A volume "x" is mounted at /fake/x.
class FakeHostResources final : public HostResources {
 public:
  void Restore(const std::vector<record::TaskRecord>& live) override;
  absl::StatusOr<std::vector<v1::BindMount>> Prepare(const v1::TaskSpec& spec,
                                                     const std::stop_token& stop) override;
  absl::Status OpenPorts(const v1::TaskSpec& spec,
                         const std::vector<std::uint16_t>& ports) override;
  absl::Status Release(const v1::TaskSpec& spec) override;

  // --- for tests
  void FailNextPrepare(absl::Status status);
  void FailNextRelease(absl::Status status);
  // The next `count` calls of OpenPorts().
  void FailOpens(int count, absl::Status status);
  // Tasks that hold a volume, or have ports open.
  std::set<std::string> holders() const;
  std::vector<std::uint16_t> ports(const std::string& task_id) const;

 private:
  mutable base::Mutex mutex_;
  std::set<std::string> volumes_ GUARDED_BY(mutex_);  // task ids
  std::map<std::string, std::vector<std::uint16_t>> ports_ GUARDED_BY(mutex_);
  absl::Status prepare_failure_ GUARDED_BY(mutex_);
  absl::Status release_failure_ GUARDED_BY(mutex_);
  int open_failures_ GUARDED_BY(mutex_) = 0;
  absl::Status open_failure_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
