#include "libs/docker/endpoint.h"

#include <cstdlib>

#include <absl/status/status.h>
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
  return base_url;
}

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) {
    const std::string_view path = text.substr(kUnixPrefix.size());
    if (!path.starts_with('/')) return BadEndpoint(text, "the socket path must be absolute");
    return Endpoint{.socket_path = std::string(path), .base_url = "http://docker"};
  }
  if (text.starts_with(kTcpPrefix)) {
    std::string_view address = text.substr(kTcpPrefix.size());
    if (address.ends_with('/')) address.remove_suffix(1);
    const bool is_address = !address.empty() && address.find_first_of("/@?#") == address.npos &&
                            address.find(':') != address.npos;
    if (!is_address) return BadEndpoint(text, "must be tcp://host:port");
    return Endpoint{.base_url = fmt::format("http://{}", address)};
  }
  return BadEndpoint(text, "must begin with unix:// or tcp://");
}

absl::StatusOr<Endpoint> EndpointFromEnvironment() {
  const char* host = std::getenv("DOCKER_HOST");  // NOLINT(concurrency-mt-unsafe): read at start
  return ParseEndpoint(host == nullptr || *host == '\0' ? kDefaultEndpoint : host);
}

}  // namespace dstack::docker
