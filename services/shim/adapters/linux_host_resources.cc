#include "services/shim/adapters/linux_host_resources.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr std::chrono::seconds kFirstRetry{1};
constexpr std::chrono::seconds kLastRetry{60};
constexpr int kMaxDoublings = 6;

KeyWish WishOf(const v1::TaskSpec& spec, const std::vector<std::uint16_t>& ports) {
  return {.account = spec.host_ssh_user(),
          .keys = {spec.host_ssh_keys().begin(), spec.host_ssh_keys().end()},
          .ports = {ports.begin(), ports.end()}};
}

}  // namespace

LinuxHostResources::LinuxHostResources(VolumeStoreSettings volumes,
                                       HostKeysSettings keys,
                                       exec::Executor& executor,
                                       exec::TimerQueue& timers)
    : volumes_(std::move(volumes)), keys_(std::move(keys)), executor_(executor), timers_(timers) {}

void LinuxHostResources::Restore(const std::vector<record::TaskRecord>& live) {
  std::vector<std::pair<std::string, std::string>> held;
  std::map<std::string, KeyWish> wishes;
  for (const record::TaskRecord& record : live) {
    const v1::TaskSpec& spec = record.spec();
    for (const v1::VolumeMount& volume : spec.volumes()) {
      held.emplace_back(spec.task_id(), volume.name());
    }
    if (spec.host_ssh_keys_size() == 0) continue;
    std::vector<std::uint16_t> ports;
    for (const v1::PortMapping& port : record.status().ports()) {
      ports.push_back(static_cast<std::uint16_t>(port.host_port()));
    }
    wishes[spec.task_id()] = WishOf(spec, ports);
  }
  volumes_.Restore(held);
  keys_.Restore(std::move(wishes));
  // Costs nothing where nothing was left.
  RetryLater();
}

void LinuxHostResources::RetryLater() {
  base::MutexLock lock(mutex_);
  if (is_retry_due_) return;
  is_retry_due_ = true;
  const auto delay = std::min(kLastRetry, kFirstRetry * (1 << std::min(retries_, kMaxDoublings)));
  timers_.PostAfter(executor_, delay, [this] { Retry(); });
}

void LinuxHostResources::Retry() {
  {
    base::MutexLock lock(mutex_);
    is_retry_due_ = false;
  }
  absl::Status status = keys_.Retry();
  status.Update(volumes_.Retry());
  {
    base::MutexLock lock(mutex_);
    retries_ = status.ok() ? 0 : retries_ + 1;
  }
  if (status.ok()) return;
  telemetry::Warn("something of ended tasks stays on the host; trying again", {{"status", status}});
  RetryLater();
}

absl::StatusOr<std::vector<v1::BindMount>> LinuxHostResources::Prepare(
    const v1::TaskSpec& spec, const std::stop_token& stop) {
  if (spec.host_ssh_keys_size() > 0) RETURN_IF_ERROR(keys_.Check(spec.host_ssh_user()));
  std::vector<v1::BindMount> mounts;
  for (const v1::VolumeMount& volume : spec.volumes()) {
    const auto directory = volumes_.Attach(spec.task_id(), volume, stop);
    if (!directory.ok()) {
      const absl::Status released = Release(spec);
      if (!released.ok()) {
        telemetry::Error("a disk stays mounted",
                         {{"task_id", spec.task_id()}, {"status", released}});
      }
      return directory.status();
    }
    v1::BindMount mount;
    mount.set_host_path(*directory);
    mount.set_container_path(volume.container_path());
    mount.set_is_read_only(volume.is_read_only());
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

absl::Status LinuxHostResources::OpenPorts(const v1::TaskSpec& spec,
                                           const std::vector<std::uint16_t>& ports) {
  if (spec.host_ssh_keys_size() == 0) return absl::OkStatus();
  return keys_.Set(spec.task_id(), WishOf(spec, ports));
}

absl::Status LinuxHostResources::Release(const v1::TaskSpec& spec) {
  const absl::Status keys = keys_.Remove(spec.task_id());
  const absl::Status volumes = volumes_.Release(spec.task_id());
  if (!keys.ok() || !volumes.ok()) RetryLater();
  return keys.ok() ? volumes : keys;
}

}  // namespace dstack::shim
