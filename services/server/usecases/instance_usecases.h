#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/rpc/caller.h"
#include "services/server/ports/identity_store.h"
#include "services/server/ports/instance_store.h"

namespace dstack::server {

// Use cases of hosts. Thread-safe, blocking; the store outlives it.
class InstanceUseCases {
 public:
  InstanceUseCases(InstanceStore& instances, const base::Clock& clock);

  // NOT_FOUND/INSTANCE_NOT_FOUND also for hosts of other projects.
  absl::StatusOr<Instance> Find(const Project& project, const std::string& id);

  // No new jobs on the host. INVALID_ARGUMENT/INVALID_FIELDS for a reason that the host would not
  // take.
  absl::StatusOr<Instance> Drain(const rpc::Caller& caller,
                                 const Project& project,
                                 const std::string& id,
                                 const std::string& reason);
  // New jobs again.
  absl::StatusOr<Instance> LiftDrain(const rpc::Caller& caller,
                                     const Project& project,
                                     const std::string& id);

 private:
  InstanceStore& instances_;
  const base::Clock& clock_;
};

}  // namespace dstack::server
