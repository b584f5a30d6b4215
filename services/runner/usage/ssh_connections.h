#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"

namespace dstack::runner {

// One established connection to the job's sshd.
struct SshConnection {
  // Address and port of the other side, in any form that tells two of them apart.
  std::string peer;
  // Absent where the kernel does not tell.
  std::optional<std::uint64_t> received_bytes;
  std::optional<std::uint64_t> sent_bytes;
};

// Established connections to local port `port` in the content of /proc/net/tcp or tcp6. Lines that
// are none are left out. Pure.
std::vector<SshConnection> ParseNetTcp(std::string_view table, std::uint16_t port);

// The connections that the kernel has now, with bytes where it tells them.
std::vector<SshConnection> ListSshConnections(std::uint16_t port);

// How long nobody has worked over ssh. Pure but for what it remembers.
class SshInactivity {
 public:
  // Shorter connections are somebody who looks whether sshd answers.
  static constexpr std::chrono::seconds kYoung{10};

  struct Reading {
    std::uint32_t open = 0;                       // connections that are not young
    base::Duration inactive{0};                   // zero while there is one
    std::optional<std::uint64_t> received_bytes;  // sum over all that are open
    std::optional<std::uint64_t> sent_bytes;
  };

  // The first call counts as activity.
  Reading Update(base::MonotonicTime now, const std::vector<SshConnection>& connections);

 private:
  std::map<std::string, base::MonotonicTime> since_;
  std::optional<base::MonotonicTime> last_active_;
};

}  // namespace dstack::runner
