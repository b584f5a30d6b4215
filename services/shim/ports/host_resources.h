#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/task.pb.h"
#include "services/shim/domain/task_record.pb.h"

namespace dstack::shim {

// What tasks use of the host itself, beside accelerators and containers: disks and keys of
// accounts. Several tasks may use the same; it is given back with the last. Thread-safe; calls
// block, and may be repeated.
class HostResources {
 public:
  virtual ~HostResources() = default;

  // After a start, before any other call: these tasks have not ended. What an earlier process took
  // for others is given back.
  virtual void Restore(const std::vector<record::TaskRecord>& live) = 0;

  // Finds, if need be formats, and mounts the disks of the task, and checks that keys can be
  // installed. Returns where the disks are to be bound. After an error the task holds nothing.
  virtual absl::StatusOr<std::vector<v1::BindMount>> Prepare(const v1::TaskSpec& spec,
                                                             const std::stop_token& stop) = 0;

  // Opens these ports of the host's loopback to the task's host_ssh_keys; replaces what was opened
  // for it before.
  virtual absl::Status OpenPorts(const v1::TaskSpec& spec,
                                 const std::vector<std::uint16_t>& ports) = 0;

  // Gives back all that the task holds. An error says what stays; it is tried again later.
  virtual absl::Status Release(const v1::TaskSpec& spec) = 0;
};

// The task uses something of the kind.
inline bool UsesHostResources(const v1::TaskSpec& spec) {
  return spec.volumes_size() > 0 || spec.host_ssh_keys_size() > 0;
}

}  // namespace dstack::shim
