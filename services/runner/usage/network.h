#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace dstack::runner {

struct NetworkBytes {
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
};

// Sum over all interfaces but loopback from the content of /proc/net/dev. Nothing when one of them
// `is_hardware`: then this is the host's network, shared with everybody, and says nothing of a job.
std::optional<NetworkBytes> ParseNetDev(std::string_view dev,
                                        const std::function<bool(std::string_view)>& is_hardware);

// Of the network that this process is in.
std::optional<NetworkBytes> SampleNetwork();

}  // namespace dstack::runner
