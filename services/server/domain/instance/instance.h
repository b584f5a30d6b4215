#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dstack/api/v1/instance.pb.h"
#include "dstack/common/v1/resources.pb.h"

#include "libs/base/ids.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

using InstanceStatus = api::v1::InstanceStatus;
using InstanceTerminationReason = api::v1::InstanceTerminationReason;

// A host takes no new jobs.
struct InstanceDrain {
  std::string reason;
  TimePoint since;
};

// One row of `instances`: a host.
struct Instance {
  InstanceId id;
  ProjectId project_id;
  std::string project_name;
  FleetId fleet_id;
  std::string fleet_name;
  std::uint32_t instance_num = 0;
  std::string name;  // <fleet>-<instance_num>
  InstanceStatus status = api::v1::INSTANCE_STATUS_PENDING;
  InstanceTerminationReason termination_reason = api::v1::INSTANCE_TERMINATION_REASON_UNSPECIFIED;
  std::string status_message;
  bool is_unreachable = false;
  std::string hostname;
  std::uint16_t port = 22;  // of its sshd; hostname and port together name a host
  // Absent until the shim has reported.
  std::optional<common::v1::Resources> resources;
  std::string container_runtime;  // "docker", "process" or empty
  bool has_privileged = false;
  std::string shim_version;
  std::string host_key;  // pinned known_hosts line without names; empty: record on first contact
  std::string host_key_fingerprint;
  // Wanted division; 0 means auto. total_blocks is the result, known with the resources.
  std::uint32_t wanted_blocks = 1;
  std::uint32_t total_blocks = 1;
  std::uint32_t busy_blocks = 0;
  std::string owner_replica_id;
  std::uint64_t owner_epoch = 0;
  TimePoint created_at;
  std::optional<InstanceDrain> drain;
  bool is_drain_confirmed = true;  // the host knows the present wish, drain or none
  std::uint32_t drain_live_tasks = 0;
};

// The worst health among the accelerators, and what is wrong with which, for people.
struct InstanceHealth {
  common::v1::HealthStatus status = common::v1::HEALTH_STATUS_UNSPECIFIED;
  std::string message;

  bool operator==(const InstanceHealth&) const = default;
};
InstanceHealth HealthOf(const Instance& instance);
// "healthy", "warning", "failure" or "unknown".
std::string Name(common::v1::HealthStatus health);

bool IsFinal(InstanceStatus status);
std::string Name(InstanceStatus status);

}  // namespace dstack::server
