#pragma once

#include <cstdint>

#include <absl/status/statusor.h>

namespace dstack::net {

// A TCP port of 127.0.0.1 that nobody listens on at this moment. Somebody else may take it before
// the caller does: bind to port 0 instead wherever the program can tell its port.
absl::StatusOr<std::uint16_t> FreePort();

// True when a listener accepts connections on 127.0.0.1:port.
bool IsListening(std::uint16_t port);

}  // namespace dstack::net
