#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "dstack/shim/v1/task.pb.h"

namespace dstack::shim {

// Command line of the runner's supervisor, as it sees the world: inside the container, or on the
// host for processes.
struct SupervisorPlace {
  std::string binary;
  std::string task_dir;
  std::string ssh_dir;  // empty: no sshd
  // Port of sshd; 0: the runner takes a free one of 127.0.0.1.
  std::uint16_t ssh_port = 0;
  uid_t socket_owner = 0;
  gid_t socket_group = 0;
  std::string log_level;  // empty: the runner's default
};

std::vector<std::string> SupervisorCommand(const SupervisorPlace& place, const v1::TaskSpec& task);

// Port of the job's sshd in a container with a network of its own.
inline constexpr std::uint16_t kContainerSshPort = 10022;

}  // namespace dstack::shim
