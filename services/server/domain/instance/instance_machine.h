#pragma once

#include <array>

#include "libs/fsm/transition_table.h"
#include "services/server/domain/instance/instance.h"

namespace dstack::server {

// What happens to a host.
enum class InstanceEvent {
  kConnect,  // a server process begins to set it up
  kReady,    // the shim's session is open and the facts are known
  kTakeJob,  // first block taken
  kLastJobGone,
  kGiveUp,  // deleted, or it cannot be set up
  kGone,    // nothing of ours is left on it, or it is beyond reach for good
};

inline constexpr std::array kInstanceEdges = {
    fsm::Edge{api::v1::INSTANCE_STATUS_PENDING,
              InstanceEvent::kConnect,
              api::v1::INSTANCE_STATUS_PROVISIONING},
    fsm::Edge{api::v1::INSTANCE_STATUS_PENDING,
              InstanceEvent::kGiveUp,
              api::v1::INSTANCE_STATUS_TERMINATING},
    fsm::Edge{api::v1::INSTANCE_STATUS_PROVISIONING,
              InstanceEvent::kReady,
              api::v1::INSTANCE_STATUS_IDLE},
    fsm::Edge{api::v1::INSTANCE_STATUS_PROVISIONING,
              InstanceEvent::kGiveUp,
              api::v1::INSTANCE_STATUS_TERMINATING},
    fsm::Edge{
        api::v1::INSTANCE_STATUS_IDLE, InstanceEvent::kTakeJob, api::v1::INSTANCE_STATUS_BUSY},
    fsm::Edge{api::v1::INSTANCE_STATUS_IDLE,
              InstanceEvent::kGiveUp,
              api::v1::INSTANCE_STATUS_TERMINATING},
    fsm::Edge{
        api::v1::INSTANCE_STATUS_BUSY, InstanceEvent::kLastJobGone, api::v1::INSTANCE_STATUS_IDLE},
    fsm::Edge{api::v1::INSTANCE_STATUS_BUSY,
              InstanceEvent::kGiveUp,
              api::v1::INSTANCE_STATUS_TERMINATING},
    fsm::Edge{api::v1::INSTANCE_STATUS_TERMINATING,
              InstanceEvent::kGone,
              api::v1::INSTANCE_STATUS_TERMINATED},
};
static_assert(fsm::IsDeterministic(kInstanceEdges));
static_assert(fsm::HasNoExit(kInstanceEdges, api::v1::INSTANCE_STATUS_TERMINATED));
static_assert(fsm::AllReachable(kInstanceEdges, api::v1::INSTANCE_STATUS_PENDING));
static_assert(fsm::AlwaysCanReach(kInstanceEdges, api::v1::INSTANCE_STATUS_TERMINATED));

}  // namespace dstack::server
