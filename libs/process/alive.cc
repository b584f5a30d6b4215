#include "libs/process/alive.h"

#include <string>

#include <fmt/format.h>

#include "libs/base/file.h"

namespace dstack::process {
namespace {

// As in /proc; 0 for no process.
char StateOf(pid_t pid) {
  const std::string stat = base::ReadFile(fmt::format("/proc/{}/stat", pid)).value_or("");
  // Behind the program's name, which may hold anything.
  const std::size_t name_end = stat.rfind(") ");
  return name_end != std::string::npos && name_end + 2 < stat.size() ? stat[name_end + 2] : '\0';
}

}  // namespace

bool IsAlive(pid_t pid) {
  const char state = StateOf(pid);
  return state != '\0' && state != 'Z' && state != 'X';
}

bool IsZombie(pid_t pid) { return StateOf(pid) == 'Z'; }

}  // namespace dstack::process
