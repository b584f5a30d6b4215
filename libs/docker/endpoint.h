#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

namespace dstack::docker {

// Where an engine listens.
struct Endpoint {
  // Path of a Unix socket; empty for TCP.
  std::string socket_path;
  // IPv4 address and port for TCP.
  std::string address;
  std::uint16_t port = 0;

  // As written in DOCKER_HOST, for messages.
  std::string ToString() const;
};

// Parses "unix:///path" or "tcp://address:port", the address being IPv4 or "localhost": names are
// not resolved, because the shim is linked statically. INVALID_ARGUMENT names the value and the
// rule. TLS (DOCKER_TLS_VERIFY) is not supported: an engine that is reached over a network is not
// the host's own.
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text);

// DOCKER_HOST of the environment, or the distribution's socket when it is absent or empty.
absl::StatusOr<Endpoint> EndpointFromEnvironment();

}  // namespace dstack::docker
