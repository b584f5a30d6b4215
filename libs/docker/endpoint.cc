#include "libs/docker/endpoint.h"

#include <charconv>
#include <cstdlib>

#include <absl/status/status.h>
#include <arpa/inet.h>
#include <fmt/format.h>

namespace dstack::docker {
namespace {

constexpr std::string_view kDefaultEndpoint = "unix:///var/run/docker.sock";
constexpr std::string_view kUnixPrefix = "unix://";
constexpr std::string_view kTcpPrefix = "tcp://";

absl::Status BadEndpoint(std::string_view text, std::string_view rule) {
  return absl::InvalidArgumentError(fmt::format("DOCKER_HOST: \"{}\": {}", text, rule));
}

}  // namespace

std::string Endpoint::ToString() const {
  if (!socket_path.empty()) return fmt::format("{}{}", kUnixPrefix, socket_path);
  return fmt::format("{}{}:{}", kTcpPrefix, address, port);
}

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) {
    const std::string_view path = text.substr(kUnixPrefix.size());
    if (!path.starts_with('/')) return BadEndpoint(text, "the socket path must be absolute");
    return Endpoint{.socket_path = std::string(path)};
  }
  if (text.starts_with(kTcpPrefix)) {
    std::string_view rest = text.substr(kTcpPrefix.size());
    if (rest.ends_with('/')) rest.remove_suffix(1);
    const std::size_t colon = rest.find(':');
    Endpoint endpoint;
    if (colon != rest.npos) {
      endpoint.address = rest.substr(0, colon);
      if (endpoint.address == "localhost") endpoint.address = "127.0.0.1";
      const std::string_view port = rest.substr(colon + 1);
      const auto parsed = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
      if (parsed.ptr != port.data() + port.size()) endpoint.port = 0;
    }
    in_addr address{};
    if (endpoint.port == 0 || ::inet_pton(AF_INET, endpoint.address.c_str(), &address) != 1) {
      return BadEndpoint(text, "must be tcp://address:port with an IPv4 address or localhost");
    }
    return endpoint;
  }
  return BadEndpoint(text, "must begin with unix:// or tcp://");
}

absl::StatusOr<Endpoint> EndpointFromEnvironment() {
  const char* host = std::getenv("DOCKER_HOST");  // read at start
  return ParseEndpoint(host == nullptr || *host == '\0' ? kDefaultEndpoint : host);
}

}  // namespace dstack::docker
