#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "services/shim/domain/shim_home.h"

namespace dstack::shim {

struct SuperviseSettings {
  // Of a shim with the components that came with the command line.
  std::vector<std::string> command;
  ShimHome home;
  // A shim on trial that does not serve for so long is taken for bad. Longer than a shim waits for
  // the engine.
  std::chrono::seconds trial_limit{90};
};

// Keeps a shim running until SIGTERM or SIGINT: with the components of the release file, if there
// is one, else those of the command line. A child that dies is started again after 100 ms to 3 s,
// longer the more often it dies; one that asks for it (kExitRestart) at once. A child on trial that
// ends, or that does not stand its trial in time, is followed by the previous components. A child
// that ends with status 0 or with a usage error is left alone, and its status becomes ours. On a
// signal the child gets SIGTERM and time to leave. Returns the exit status of the process.
int Supervise(const SuperviseSettings& settings);

// Set in the environment of the child: it may ask to be started again.
inline constexpr char kSupervisedVariable[] = "DSTACK_SHIM_SUPERVISED";

}  // namespace dstack::shim
