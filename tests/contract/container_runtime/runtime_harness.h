#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// One implementation of the port, ready to run tasks, and the means to play the container's part.
class RuntimeHarness {
 public:
  virtual ~RuntimeHarness() = default;
  virtual ContainerRuntime& runtime() = 0;
  // A second object on the same containers, as after a restart of the shim.
  virtual void Reopen() = 0;
  // A task with its directory.
  virtual LaunchSpec MakeLaunch() = 0;
  // Before the start: the supervisor will not listen to SIGTERM.
  virtual void MakeStubborn(const LaunchSpec& launch) = 0;
  // Waits until the supervisor has come up.
  virtual void AwaitUp(const LaunchSpec& launch) = 0;
  // Ends the supervisor with this status.
  virtual void End(const LaunchSpec& launch, int exit_status) = 0;
};

struct NamedHarness {
  const char* name;
  // Null when it cannot run here; the reason is printed.
  std::function<std::unique_ptr<RuntimeHarness>()> make;
};
std::vector<NamedHarness> AllHarnesses();

}  // namespace dstack::shim
