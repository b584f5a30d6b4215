#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "libs/spool/writer.h"
#include "libs/telemetry/log.h"

namespace dstack::runner {

// Owner of the socket on the host.
struct SocketOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};

// What serve and deliver have in common.
struct ServingOptions {
  std::string task_dir;
  // Absent: the socket belongs to the user of the process and has mode 0600; otherwise 0660.
  std::optional<SocketOwner> socket_owner;
};

struct SuperviseOptions {
  ServingOptions serving;
  // Bundle of OpenSSH and git; empty: no sshd, no clones.
  std::string ssh_dir;
  // 0: a free port of 127.0.0.1, otherwise this port of all addresses.
  std::uint16_t ssh_port = 0;
  // Empty: authorized_keys in the task's directory.
  std::string ssh_authorized_keys;
  // Directory for files that the job reads. Empty: /dstack when the task's directory is
  // /dstack/runner (a container), otherwise the task's directory.
  std::string shared_dir;
  std::uint64_t log_spool_bytes = 256ULL << 20;
  spool::OverflowPolicy log_overflow = spool::OverflowPolicy::kThrottle;
};

struct ServeOptions {
  ServingOptions serving;
  int control_fd = -1;
  int appended_fd = -1;
  std::string initial_dir;
  // See SuperviseOptions.
  std::string ssh_dir;
  std::string shared_dir;
};

// The task's directory in every container; elsewhere a runner changes nothing of its system.
inline constexpr char kContainerTaskDir[] = "/dstack/runner";

// Variables of serve that hold the container's proxies: this, then the name.
inline constexpr char kProxyPrefix[] = "DSTACK_PROXY_";

struct DeliverOptions {
  ServingOptions serving;
};

struct Options {
  telemetry::Level log_level = telemetry::Level::kInfo;
  std::variant<SuperviseOptions, ServeOptions, DeliverOptions> command;
};

// Parses the command line. Help, --version and errors are printed and end the process (0, 0, 64).
Options ParseOptions(int argc, char** argv);

}  // namespace dstack::runner
