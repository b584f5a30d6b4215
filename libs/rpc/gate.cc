#include "libs/rpc/gate.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/rpc/status_mapping.h"
#include "libs/telemetry/log.h"

namespace dstack::rpc {
namespace {

constexpr const char* kRequestIdKey = "x-request-id";
constexpr const char* kAuthorizationKey = "authorization";
constexpr std::size_t kMaxRequestIdLength = 64;
constexpr std::size_t kMaxTokenLength = 4096;

std::string_view Lookup(const grpc::ServerContextBase& context, const char* key) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(key);
  if (it == metadata.end()) return {};
  return {it->second.data(), it->second.size()};
}

// Only what can go into a log line and a header as it is.
bool IsRequestId(std::string_view text) {
  if (text.empty() || text.size() > kMaxRequestIdLength) return false;
  return std::all_of(
      text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
}

bool StartsWithBearer(std::string_view text) {
  constexpr std::string_view kScheme = "bearer ";
  if (text.size() < kScheme.size()) return false;
  return std::equal(kScheme.begin(), kScheme.end(), text.begin(), [](char expected, char c) {
    return expected == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  });
}

base::Secret BearerToken(std::string_view header) {
  if (!StartsWithBearer(header)) return base::Secret();
  header.remove_prefix(7);
  while (!header.empty() && header.front() == ' ') header.remove_prefix(1);
  while (!header.empty() && header.back() == ' ') header.remove_suffix(1);
  if (header.size() > kMaxTokenLength) return base::Secret();
  return base::Secret(std::string(header));
}

bool IsDefect(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInternal ||
         status.code() == absl::StatusCode::kUnknown ||
         status.code() == absl::StatusCode::kDataLoss;
}

void LogFailure(const Method& method,
                const Gate::Admission& admission,
                const absl::Status& status) {
  const auto fields =
      std::initializer_list<telemetry::Field>{{"method", method.name},
                                              {"request_id", admission.caller.request_id},
                                              {"user", admission.caller.identity.user_name},
                                              {"peer", admission.caller.peer},
                                              {"error", status}};
  if (IsDefect(status)) {
    telemetry::Error("rpc failed", fields);
  } else if (status.code() == absl::StatusCode::kUnavailable &&
             base::Reason(status) != "SHUTTING_DOWN") {
    telemetry::Warn("rpc failed", fields);
  } else {
    // The caller's mistakes and wishes are no news for the operator.
    telemetry::Debug("rpc refused", fields);
  }
}

}  // namespace

Gate::Gate(Authenticator& authenticator, telemetry::Metrics& metrics)
    : authenticator_(authenticator), metrics_(metrics) {}

Gate::Admission Gate::Admit(grpc::ServerContextBase& context, const Method& method) const {
  Admission admission;
  admission.started_at = std::chrono::steady_clock::now();
  const std::string_view given_id = Lookup(context, kRequestIdKey);
  admission.caller.request_id = IsRequestId(given_id) ? std::string(given_id) : base::NewUuid();
  admission.caller.peer = context.peer();
  const auto default_deadline = std::chrono::system_clock::now() + method.default_timeout;
  admission.caller.deadline = std::min(context.deadline(), default_deadline);
  if (context.deadline() != std::chrono::system_clock::time_point::max()) {
    admission.caller.deadline = context.deadline();
  }
  admission.token = BearerToken(Lookup(context, kAuthorizationKey));
  context.AddInitialMetadata(kRequestIdKey, admission.caller.request_id);
  return admission;
}

absl::Status Gate::Authenticate(const Method& method, Admission& admission) {
  if (!method.needs_identity) return absl::OkStatus();
  if (admission.token.empty()) {
    return base::Error(absl::StatusCode::kUnauthenticated,
                       "INVALID_TOKEN",
                       "no token: send metadata 'authorization: Bearer <token>'");
  }
  auto identity = authenticator_.Authenticate(admission.token);
  if (!identity.ok()) return identity.status();
  admission.caller.identity = *std::move(identity);
  return absl::OkStatus();
}

grpc::Status Gate::Conclude(const Method& method,
                            const Admission& admission,
                            const absl::Status& status) {
  const std::string method_name(method.name);
  metrics_
      .Counter("dstack_server_rpcs_total",
               "Calls that have ended, by method and canonical code",
               {{"method", method_name}, {"code", std::string(base::CodeName(status.code()))}})
      .Increment();
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - admission.started_at;
  metrics_
      .Histogram("dstack_server_rpc_duration_seconds",
                 "Time from the arrival of a call to its answer",
                 {{"method", method_name}},
                 telemetry::LatencyBuckets())
      .Observe(elapsed.count());
  if (status.ok()) return grpc::Status::OK;
  LogFailure(method, admission, status);
  if (!IsDefect(status)) return ToGrpc(status);
  return ToGrpc(
      base::Error(absl::StatusCode::kInternal,
                  "INTERNAL",
                  fmt::format("internal error; the server's log has it under request id {}",
                              admission.caller.request_id),
                  {{"request_id", admission.caller.request_id}}));
}

grpc::Status Gate::Serve(grpc::ServerContextBase& context,
                         const Method& method,
                         const Handler& handler) {
  Admission admission = Admit(context, method);
  absl::Status status = Authenticate(method, admission);
  if (status.ok()) status = handler(admission.caller);
  return Conclude(method, admission, status);
}

}  // namespace dstack::rpc
