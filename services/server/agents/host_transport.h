#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/server/ports/instance_store.h"

namespace dstack::server {

// A way to one host. Thread-safe after Connect(). All methods block.
class HostTransport {
 public:
  struct ExecResult {
    int exit_status = 0;
    std::string output;
    std::string error_output;
  };

  virtual ~HostTransport() = default;

  // Once, before everything else. Errors: UNAVAILABLE/HOST_UNREACHABLE,
  // PERMISSION_DENIED/ACCESS_DENIED, FAILED_PRECONDITION/HOST_KEY_CHANGED, INVALID_ARGUMENT,
  // CANCELLED.
  virtual absl::Status Connect(std::stop_token stop) = 0;
  // Local Unix socket that leads to one on the host. The same remote path gives the same socket.
  virtual absl::StatusOr<std::string> Forward(const std::string& remote_socket) = 0;
  virtual void RemoveForward(const std::string& remote_socket) = 0;
  // Runs a program on the host.
  virtual absl::StatusOr<ExecResult> Exec(const std::vector<std::string>& argv,
                                          std::chrono::milliseconds timeout,
                                          std::optional<std::string> input,
                                          std::stop_token stop) = 0;
  // Key that the host showed ("type base64"); empty where there is none.
  virtual std::string HostKey() const = 0;
};

// Makes transports. Thread-safe.
class HostTransports {
 public:
  // Called at most once, on any thread, when a connection that was up has ended by itself. Must
  // return at once.
  using OnBroken = std::function<void(absl::Status)>;

  virtual ~HostTransports() = default;
  virtual std::unique_ptr<HostTransport> Make(const Instance& instance,
                                              const HostConnection& connection,
                                              OnBroken on_broken) = 0;
};

// For agents on this machine that are reached without ssh: a socket is its own forward. Used by
// tests and by the simulation of many hosts.
class DirectTransports final : public HostTransports {
 public:
  std::unique_ptr<HostTransport> Make(const Instance& instance,
                                      const HostConnection& connection,
                                      OnBroken on_broken) override;
};

}  // namespace dstack::server
