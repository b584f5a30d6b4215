#include "services/shim/adapters/supervisor_command.h"

#include <fmt/format.h>

namespace dstack::shim {

std::vector<std::string> SupervisorCommand(const SupervisorPlace& place, const v1::TaskSpec& task) {
  std::vector<std::string> command = {place.binary};
  if (!place.log_level.empty()) command.insert(command.end(), {"--log-level", place.log_level});
  command.insert(command.end(), {"supervise", "--task-dir", place.task_dir});
  command.insert(command.end(),
                 {"--socket-owner", fmt::format("{}:{}", place.socket_owner, place.socket_group)});
  if (!place.ssh_dir.empty()) {
    command.insert(command.end(), {"--ssh-dir", place.ssh_dir});
    command.insert(command.end(), {"--ssh-port", fmt::format("{}", place.ssh_port)});
  }
  if (task.log_spool_bytes() > 0) {
    command.insert(command.end(), {"--log-spool-bytes", fmt::format("{}", task.log_spool_bytes())});
  }
  if (task.log_overflow_policy() == v1::LOG_OVERFLOW_POLICY_DROP) {
    command.insert(command.end(), {"--log-overflow", "drop"});
  }
  return command;
}

}  // namespace dstack::shim
