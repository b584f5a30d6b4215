#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include <absl/status/statusor.h>

#include "libs/base/file.h"

namespace dstack::rpc {

// What the first bytes of a connection say about it.
enum class WireProtocol {
  kUnknown,  // more bytes are needed
  kHttp2,    // gRPC
  kTls,
  kHttp1,
};

// Pure. Anything that can be neither HTTP/2 nor TLS is HTTP/1, whose parser then refuses it.
WireProtocol Sniff(std::string_view first_bytes);

// A listening TCP socket. `host` is a name or an address; port 0 takes a free one.
// ALREADY_EXISTS when the port is taken, INVALID_ARGUMENT for a host that is not of this machine.
struct ListenSocket {
  base::UniqueFd fd;
  std::uint16_t port = 0;
  // Only reachable from this machine.
  bool is_loopback = false;
  // For people: "127.0.0.1:3000", "[::1]:3000".
  std::string address;
};
absl::StatusOr<ListenSocket> Listen(const std::string& host, std::uint16_t port);

// Accepts connections and hands each one over by its first bytes, so that one port serves gRPC and
// HTTP/1. A client that stays silent holds up nobody: connections wait for their first bytes side
// by side, at most 1024 of them and 10 s each.
class PortSplitter {
 public:
  // Called on the splitter's thread with a connected, non-blocking socket, which the callee owns;
  // must return at once.
  using Sink = std::function<void(WireProtocol protocol, base::UniqueFd connection)>;

  PortSplitter(base::UniqueFd listener, Sink sink);
  // Closes the listener and the connections that have not said anything yet.
  ~PortSplitter();
  PortSplitter(const PortSplitter&) = delete;
  PortSplitter& operator=(const PortSplitter&) = delete;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
  std::jthread thread_;
};

}  // namespace dstack::rpc
