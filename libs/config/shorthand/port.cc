#include "libs/config/shorthand/port.h"

#include <optional>
#include <vector>

#include <fmt/format.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr int64_t kMaxPort = 65535;
constexpr int32_t kServiceLocalPort = 80;

absl::StatusOr<int32_t> PortNumber(std::string_view text) {
  const std::optional<int64_t> port = ParseInteger(text);
  if (!port) return BrokenRule("must be a port such as `8000`, `80:8000` or `*:8000`");
  if (*port < 1 || *port > kMaxPort) return BrokenRule("must be a port from 1 to 65535");
  return static_cast<int32_t>(*port);
}

absl::StatusOr<v1::PortMapping> Mapping(std::string_view local, std::string_view container) {
  v1::PortMapping mapping;
  if (local != "*") {
    const absl::StatusOr<int32_t> local_port = PortNumber(local);
    if (!local_port.ok()) return local_port.status();
    mapping.set_local_port(*local_port);
  }
  const absl::StatusOr<int32_t> container_port = PortNumber(container);
  if (!container_port.ok()) return container_port.status();
  mapping.set_container_port(*container_port);
  return mapping;
}

}  // namespace

absl::StatusOr<v1::PortMapping> ParsePort(std::string_view text) {
  const std::vector<std::string> parts = SplitOn(text, ':');
  if (parts.size() == 1) {
    if (parts[0] == "*") return BrokenRule("must name the port in the container: `*:8000`");
    return Mapping(parts[0], parts[0]);
  }
  if (parts.size() == 2) return Mapping(parts[0], parts[1]);
  return BrokenRule("must have one `:` at most, between local and container port");
}

absl::StatusOr<v1::PortMapping> ParseServicePort(std::string_view text) {
  absl::StatusOr<v1::PortMapping> mapping = ParsePort(text);
  if (!mapping.ok()) return mapping;
  if (!mapping->has_local_port()) return BrokenRule("must not have `*` as the local port");
  if (text.find(':') == std::string_view::npos) mapping->set_local_port(kServiceLocalPort);
  return mapping;
}

std::string FormatPort(const v1::PortMapping& port) {
  if (!port.has_local_port()) return fmt::format("*:{}", port.container_port());
  if (port.local_port() == port.container_port()) return fmt::format("{}", port.container_port());
  return fmt::format("{}:{}", port.local_port(), port.container_port());
}

}  // namespace dstack::config
