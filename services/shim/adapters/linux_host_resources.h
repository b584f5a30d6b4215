#pragma once

#include <string>
#include <vector>

#include "services/shim/adapters/host_keys.h"
#include "services/shim/adapters/volume_store.h"
#include "services/shim/ports/host_resources.h"

namespace dstack::shim {

// Disks and keys of this machine.
class LinuxHostResources final : public HostResources {
 public:
  LinuxHostResources(VolumeStoreSettings volumes, HostKeysSettings keys);

  void Restore(const std::vector<record::TaskRecord>& live) override;
  absl::StatusOr<std::vector<v1::BindMount>> Prepare(const v1::TaskSpec& spec,
                                                     const std::stop_token& stop) override;
  absl::Status OpenPorts(const v1::TaskSpec& spec,
                         const std::vector<std::uint16_t>& ports) override;
  absl::Status Release(const v1::TaskSpec& spec) override;

 private:
  VolumeStore volumes_;
  HostKeys keys_;
};

}  // namespace dstack::shim
