#pragma once

#include <csignal>

namespace dstack::runner {

// The signals that a supervisor answers in its loop. They are held back from before the first line
// of main() on, because the first process of a container loses every signal that comes before it
// holds it back or handles it.
sigset_t SupervisorSignals();

}  // namespace dstack::runner
