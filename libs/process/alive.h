#pragma once

#include <sys/types.h>

namespace dstack::process {

// True while the process exists and has not ended. kill(pid, 0) takes a zombie for a process as
// well, and in a container whose first process collects nobody, orphans stay that for ever.
bool IsAlive(pid_t pid);
// Has ended, and nobody has collected it.
bool IsZombie(pid_t pid);

}  // namespace dstack::process
