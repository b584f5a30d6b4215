#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "libs/base/secret.h"
#include "libs/rpc/caller.h"
#include "libs/telemetry/metrics.h"

namespace dstack::rpc {

// Turns a bearer token into an identity. Thread-safe, may block.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  // UNAUTHENTICATED/INVALID_TOKEN for an unknown, expired or revoked token.
  virtual absl::StatusOr<Identity> Authenticate(const base::Secret& token) = 0;
};

// What one RPC method wants. Static data.
struct Method {
  // "dstack.api.v1.RunService/GetRun"; label of the metrics.
  std::string_view name;
  bool needs_identity = true;
  // For clients that set no deadline.
  std::chrono::milliseconds default_timeout{30'000};
};

// What all handlers of one server share: identity, request ids, metrics, one log line for each
// failure, mapping of errors. An INTERNAL or UNKNOWN error reaches the client as its request id
// only; the cause stays in the log. Thread-safe.
class Gate {
 public:
  // Both outlive this object.
  Gate(Authenticator& authenticator, telemetry::Metrics& metrics);

  // Runs the handler of a unary call on the calling thread, which may block.
  using Handler = std::function<absl::Status(const Caller& caller)>;
  grpc::Status Serve(grpc::ServerContextBase& context,
                     const Method& method,
                     const Handler& handler);

  // The pieces of Serve(), for streams. Admit reads metadata and adds the request id to the answer;
  // it does not block and belongs into the method's handler, before any message is sent.
  struct Admission {
    Caller caller;
    base::Secret token;
    std::chrono::steady_clock::time_point started_at;
  };
  Admission Admit(grpc::ServerContextBase& context, const Method& method) const;
  // Fills in caller.identity; blocks.
  absl::Status Authenticate(const Method& method, Admission& admission);
  // Counts and logs the end of a call and gives the status for the client.
  grpc::Status Conclude(const Method& method,
                        const Admission& admission,
                        const absl::Status& status);

 private:
  Authenticator& authenticator_;
  telemetry::Metrics& metrics_;
};

}  // namespace dstack::rpc
