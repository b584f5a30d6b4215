#include "libs/rpc/channel.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <sys/un.h>

namespace dstack::rpc {
namespace {

absl::Status Refuse(std::string_view url, std::string_view rule) {
  return absl::InvalidArgumentError(fmt::format("server URL '{}': {}", url, rule));
}

bool TakePrefix(std::string_view* text, std::string_view prefix) {
  if (text->substr(0, prefix.size()) != prefix) return false;
  text->remove_prefix(prefix.size());
  return true;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[i + 1]);
    const int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
  });
}

absl::StatusOr<Endpoint> UnixEndpoint(std::string_view url, const std::string& path) {
  if (path.empty()) return Refuse(url, "the path of the socket is missing");
  if (path.find('\0') != std::string::npos) return Refuse(url, "the path contains a zero byte");
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Refuse(url,
                  fmt::format("the path of a socket has at most {} bytes",
                              sizeof(sockaddr_un::sun_path) - 1));
  }
  return Endpoint{"unix:" + path, false, true};
}

struct Authority {
  std::string_view host;
  std::string_view port;
};

// Splits "host", "host:port", "[::1]" and "[::1]:port".
std::optional<Authority> SplitAuthority(std::string_view text) {
  Authority authority;
  if (TakePrefix(&text, "[")) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    authority.host = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (text.empty()) return authority;
    if (!TakePrefix(&text, ":") || text.empty()) return std::nullopt;
    authority.port = text;
    return authority;
  }
  const size_t colon = text.find(':');
  authority.host = text.substr(0, colon);
  if (colon == std::string_view::npos) return authority;
  authority.port = text.substr(colon + 1);
  if (authority.port.empty()) return std::nullopt;
  return authority;
}

std::optional<int> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (port < 1 || port > 65535) return std::nullopt;
  return port;
}

// Literal addresses skip the resolver, which saves a fresh process its start.
Endpoint TcpEndpoint(std::string_view host, int port, bool is_tls) {
  const std::string name(host);
  in_addr v4{};
  if (inet_pton(AF_INET, name.c_str(), &v4) == 1) {
    const bool is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
    return {fmt::format("ipv4:{}:{}", name, port), is_tls, is_loopback};
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, name.c_str(), &v6) == 1) {
    return {fmt::format("ipv6:[{}]:{}", name, port), is_tls, IN6_IS_ADDR_LOOPBACK(&v6) != 0};
  }
  return {fmt::format("dns:///{}:{}", name, port), is_tls, name == "localhost"};
}

grpc::ChannelArguments Arguments(const Endpoint& endpoint, const DialOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kKeepaliveTime.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kKeepaliveTimeout.count()));
  // Otherwise C-core stops pinging after two pings without data, and a silent log stream could
  // hang on a dead connection.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Also the time that one attempt to connect may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // A proxy cannot reach this machine's loopback.
  if (endpoint.is_local) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.user_agent.empty()) arguments.SetUserAgentPrefix(options.user_agent);
  return arguments;
}

}  // namespace

absl::StatusOr<Endpoint> ParseUrl(std::string_view url) {
  std::string_view rest = url;
  if (url.empty()) return Refuse(url, "must not be empty");
  if (HasControlCharacter(url)) return Refuse(url, "contains a blank or a control character");
  if (TakePrefix(&rest, "http+unix://")) {
    const std::optional<std::string> path = PercentDecode(rest);
    if (!path.has_value()) return Refuse(url, "'%' must be followed by two hex digits");
    return UnixEndpoint(url, *path);
  }
  if (TakePrefix(&rest, "unix:///")) return UnixEndpoint(url, "/" + std::string(rest));
  if (TakePrefix(&rest, "unix:")) return UnixEndpoint(url, std::string(rest));

  const bool is_tls = TakePrefix(&rest, "https://");
  if (!is_tls && !TakePrefix(&rest, "http://")) {
    return Refuse(url, "must begin with http://, https:// or unix:");
  }
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (rest.find_first_of("/?#") != std::string_view::npos) {
    return Refuse(url, "must end after the host and the port");
  }
  if (rest.find('@') != std::string_view::npos) return Refuse(url, "must not contain a user");
  const std::optional<Authority> authority = SplitAuthority(rest);
  if (!authority.has_value()) return Refuse(url, "the host or the port cannot be read");
  if (authority->host.empty()) return Refuse(url, "the host is missing");
  if (authority->port.empty()) return TcpEndpoint(authority->host, is_tls ? 443 : 80, is_tls);
  const std::optional<int> port = ParsePort(authority->port);
  if (!port.has_value()) return Refuse(url, "the port must be a number from 1 to 65535");
  return TcpEndpoint(authority->host, *port, is_tls);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(std::string_view url,
                                                    const DialOptions& options) {
  absl::StatusOr<Endpoint> endpoint = ParseUrl(url);
  if (!endpoint.ok()) return endpoint.status();
  const auto credentials = endpoint->is_tls ? grpc::SslCredentials(grpc::SslCredentialsOptions())
                                            : grpc::InsecureChannelCredentials();
  return grpc::CreateCustomChannel(endpoint->target, credentials, Arguments(*endpoint, options));
}

void SetToken(grpc::ClientContext& context, std::string_view token) {
  context.AddMetadata("authorization", "Bearer " + std::string(token));
}

void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

}  // namespace dstack::rpc
