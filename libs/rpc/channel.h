#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

namespace dstack::rpc {

// Keepalive of long streams. A client pings after kKeepaliveTime of silence and gives a connection
// up when no answer comes within kKeepaliveTimeout. A server must allow pings at intervals of
// kKeepaliveMinInterval (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS), otherwise it
// closes connections of clients that ping ("too_many_pings").
inline constexpr std::chrono::milliseconds kKeepaliveTime{30'000};
inline constexpr std::chrono::milliseconds kKeepaliveTimeout{10'000};
inline constexpr std::chrono::milliseconds kKeepaliveMinInterval{10'000};

// Largest message that a client accepts; a page of runs may be larger than gRPC's default of 4 MiB.
inline constexpr int kMaxReceiveBytes = 64 << 20;

// Where a URL points to.
struct Endpoint {
  // What gRPC dials: "ipv4:127.0.0.1:3000", "dns:///example.com:443", "unix:/run/x.sock".
  std::string target;
  bool is_tls = false;
  // The machine itself: a loopback address, "localhost" or a Unix socket.
  bool is_local = false;
};

// Reads `http://host[:port]`, `https://host[:port]`, `unix:path`, `unix:///path` and
// `http+unix://<percent-encoded path>`. The default ports are 80 and 443; a path other than "/", a
// user or a query is refused. INVALID_ARGUMENT names the URL and the rule.
absl::StatusOr<Endpoint> ParseUrl(std::string_view url);

struct DialOptions {
  // Put before gRPC's own user agent, for example "dstack-cli/0.1.0".
  std::string user_agent;
};

// A channel to the URL: plaintext, or TLS with the roots of the system. Connects when first used
// and again by itself, 50 ms to 2 s after a failure. Thread-safe like every gRPC channel.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(std::string_view url,
                                                    const DialOptions& options = {});

// Adds `authorization: Bearer <token>` to one call. gRPC refuses call credentials on plaintext
// channels, metadata works on all.
void SetToken(grpc::ClientContext& context, std::string_view token);

// The call fails with DEADLINE_EXCEEDED after that time, counted from now.
void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout);

}  // namespace dstack::rpc
