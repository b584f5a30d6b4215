#pragma once

#include "services/runner/control/control.pb.h"

namespace dstack::runner {

// Whom the serving core tells what the server wants: the supervisor, or nobody when it is gone.
class SupervisorPort {
 public:
  virtual ~SupervisorPort() = default;
  virtual void Tell(const control::ToSupervisor& message) = 0;
};

}  // namespace dstack::runner
