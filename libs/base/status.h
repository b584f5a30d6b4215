#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include "libs/base/macros.h"

// How errors are made and read. An error is an absl::Status with a canonical code, a message for
// people, and details as payloads under the type URLs of google.rpc messages, which cross the wire
// unchanged. All functions are pure and thread-safe.
namespace dstack::base {

// Domain of every google.rpc.ErrorInfo made here.
inline constexpr std::string_view kErrorDomain = "dstack";

// Reason of what a full disk or quota refused; comes with RESOURCE_EXHAUSTED.
inline constexpr std::string_view kDiskFull = "DISK_FULL";

// Type URLs of the payloads.
inline constexpr std::string_view kErrorInfoUrl = "type.googleapis.com/google.rpc.ErrorInfo";
inline constexpr std::string_view kBadRequestUrl = "type.googleapis.com/google.rpc.BadRequest";
inline constexpr std::string_view kRetryInfoUrl = "type.googleapis.com/google.rpc.RetryInfo";
inline constexpr std::string_view kResourceInfoUrl = "type.googleapis.com/google.rpc.ResourceInfo";

// An error with a stable `reason` (upper-case word, the name of a dstack.common.v1.ErrorReason
// without its prefix), a `message` that names the thing, and ids in `metadata`.
// `code` must not be OK.
[[nodiscard]] absl::Status Error(absl::StatusCode code,
                                 std::string_view reason,
                                 std::string_view message,
                                 const std::map<std::string, std::string>& metadata = {});

// NOT_FOUND with reason `reason` and google.rpc.ResourceInfo: `type` is the noun ("run"), `name`
// its name or id.
[[nodiscard]] absl::Status NotFound(std::string_view reason,
                                    std::string_view type,
                                    std::string_view name);

// ALREADY_EXISTS, as NotFound.
[[nodiscard]] absl::Status AlreadyExists(std::string_view reason,
                                         std::string_view type,
                                         std::string_view name);

// Shorthands for errors without a registered reason of their own.
[[nodiscard]] absl::Status Invalid(std::string_view message);
[[nodiscard]] absl::Status Unavailable(std::string_view message);
[[nodiscard]] absl::Status Internal(std::string_view message);

// Status of a failed system call: code from `error_number`, message "`what`: <strerror>". A full
// disk or quota has the reason kDiskFull.
[[nodiscard]] absl::Status ErrnoError(int error_number, std::string_view what);

// Reason of an error made by Error(); empty when it has none.
std::string Reason(const absl::Status& status);

// Metadata of an error made by Error(); empty when it has none.
std::map<std::string, std::string> Metadata(const absl::Status& status);

// Puts context in front of the message ("context: message"). Code and payloads stay. OK stays OK.
[[nodiscard]] absl::Status AnnotateText(const absl::Status& status, std::string_view context);

template <typename... Args>
[[nodiscard]] absl::Status Annotate(const absl::Status& status,
                                    fmt::format_string<Args...> format,
                                    Args&&... args) {
  if (status.ok()) return status;
  return AnnotateText(status, fmt::format(format, std::forward<Args>(args)...));
}

// Attaches google.rpc.RetryInfo: the caller may try again after `delay`.
[[nodiscard]] absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds delay);
std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& status);

// One wrong field of a request or document.
struct FieldViolation {
  std::string field;        // path, for example "resources.gpu.count"
  std::string description;  // names the value and the rule
  std::string reason;       // optional upper-case word

  bool operator==(const FieldViolation&) const = default;
};

// INVALID_ARGUMENT with reason INVALID_FIELDS, google.rpc.BadRequest and a message that lists all
// violations, one per line when there is more than one. OK when the list is empty.
[[nodiscard]] absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

// The same for one field.
[[nodiscard]] absl::Status InvalidField(std::string_view field, std::string_view description);

// Violations of an error made by InvalidFields(), here or at the other end of the wire.
std::vector<FieldViolation> FieldViolations(const absl::Status& status);

// "INVALID_ARGUMENT", "NOT_FOUND", ... as gRPC spells them; "OK" for kOk.
std::string_view CodeName(absl::StatusCode code);

// True for errors after which the same call may succeed: UNAVAILABLE, ABORTED, DEADLINE_EXCEEDED,
// RESOURCE_EXHAUSTED.
bool IsTransient(const absl::Status& status);

// std and absl string views are distinct types in the distribution's Abseil.
inline absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

// Message of a status as std::string_view (valid while `status` lives).
inline std::string_view Message(const absl::Status& status) { return ToStd(status.message()); }

}  // namespace dstack::base
