#include "services/runner/supervise/early_signals.h"

#include <string_view>

namespace dstack::runner {

sigset_t SupervisorSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

namespace {

// Before anything else of the program: the initialisation of its libraries alone takes
// milliseconds.
__attribute__((constructor(101))) void HoldBackSignals(int argc, char** argv, char** /*envp*/) {
  bool is_supervisor = false;
  for (int i = 1; i < argc; ++i) is_supervisor |= std::string_view(argv[i]) == "supervise";
  if (!is_supervisor) return;
  const sigset_t signals = SupervisorSignals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace
}  // namespace dstack::runner
