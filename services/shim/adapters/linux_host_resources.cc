#include "services/shim/adapters/linux_host_resources.h"

#include <map>
#include <utility>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

KeyWish WishOf(const v1::TaskSpec& spec, const std::vector<std::uint16_t>& ports) {
  return {.account = spec.host_ssh_user(),
          .keys = {spec.host_ssh_keys().begin(), spec.host_ssh_keys().end()},
          .ports = {ports.begin(), ports.end()}};
}

}  // namespace

LinuxHostResources::LinuxHostResources(VolumeStoreSettings volumes, HostKeysSettings keys)
    : volumes_(std::move(volumes)), keys_(std::move(keys)) {}

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
  return keys.ok() ? volumes : keys;
}

}  // namespace dstack::shim
