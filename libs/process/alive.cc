#include "libs/process/alive.h"

#include "libs/process/proc_stat.h"

namespace dstack::process {

bool IsAlive(pid_t pid) {
  const auto process = FindProcess(pid);
  return process && !process->has_ended();
}

bool IsZombie(pid_t pid) {
  const auto process = FindProcess(pid);
  return process && process->state == 'Z';
}

}  // namespace dstack::process
