#include "services/shim/adapters/fake_host_resources.h"

#include <utility>

namespace dstack::shim {

void FakeHostResources::Restore(const std::vector<record::TaskRecord>& live) {
  base::MutexLock lock(mutex_);
  volumes_.clear();
  ports_.clear();
  for (const record::TaskRecord& record : live) volumes_.insert(record.spec().task_id());
}

absl::StatusOr<std::vector<v1::BindMount>> FakeHostResources::Prepare(const v1::TaskSpec& spec,
                                                                      const std::stop_token&) {
  base::MutexLock lock(mutex_);
  if (absl::Status failure = std::exchange(prepare_failure_, absl::OkStatus()); !failure.ok()) {
    return failure;
  }
  std::vector<v1::BindMount> mounts;
  for (const v1::VolumeMount& volume : spec.volumes()) {
    v1::BindMount mount;
    mount.set_host_path("/fake/" + volume.name());
    mount.set_container_path(volume.container_path());
    mounts.push_back(mount);
  }
  if (!mounts.empty()) volumes_.insert(spec.task_id());
  return mounts;
}

absl::Status FakeHostResources::OpenPorts(const v1::TaskSpec& spec,
                                          const std::vector<std::uint16_t>& ports) {
  base::MutexLock lock(mutex_);
  if (open_failures_ > 0) {
    --open_failures_;
    return open_failure_;
  }
  ports_[spec.task_id()] = ports;
  return absl::OkStatus();
}

absl::Status FakeHostResources::Release(const v1::TaskSpec& spec) {
  base::MutexLock lock(mutex_);
  volumes_.erase(spec.task_id());
  ports_.erase(spec.task_id());
  return std::exchange(release_failure_, absl::OkStatus());
}

void FakeHostResources::FailNextPrepare(absl::Status status) {
  base::MutexLock lock(mutex_);
  prepare_failure_ = std::move(status);
}

void FakeHostResources::FailNextRelease(absl::Status status) {
  base::MutexLock lock(mutex_);
  release_failure_ = std::move(status);
}

void FakeHostResources::FailOpens(int count, absl::Status status) {
  base::MutexLock lock(mutex_);
  open_failures_ = count;
  open_failure_ = std::move(status);
}

std::set<std::string> FakeHostResources::holders() const {
  base::MutexLock lock(mutex_);
  std::set<std::string> all = volumes_;
  for (const auto& [task_id, ports] : ports_) all.insert(task_id);
  return all;
}

std::vector<std::uint16_t> FakeHostResources::ports(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = ports_.find(task_id);
  return it == ports_.end() ? std::vector<std::uint16_t>() : it->second;
}

}  // namespace dstack::shim
