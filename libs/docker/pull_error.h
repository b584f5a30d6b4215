#pragma once

#include <string_view>

#include <absl/status/status.h>

namespace dstack::docker {

// Reasons (base::Reason) of a failed pull.
inline constexpr std::string_view kPullUnauthorized = "IMAGE_UNAUTHORIZED";  // 401
inline constexpr std::string_view kPullForbidden = "IMAGE_FORBIDDEN";        // 403
inline constexpr std::string_view kPullNotFound = "IMAGE_NOT_FOUND";         // 404
inline constexpr std::string_view kPullRateLimited = "IMAGE_RATE_LIMITED";   // 429
inline constexpr std::string_view kPullDiskFull = "IMAGE_DISK_FULL";
inline constexpr std::string_view kPullUnresolved = "IMAGE_REGISTRY_UNRESOLVED";  // name lookup
inline constexpr std::string_view kPullTls = "IMAGE_REGISTRY_TLS";
inline constexpr std::string_view kPullUnreachable = "IMAGE_REGISTRY_UNREACHABLE";
inline constexpr std::string_view kPullServerError = "IMAGE_REGISTRY_ERROR";  // 5xx
inline constexpr std::string_view kPullInvalid = "IMAGE_REFERENCE_INVALID";
inline constexpr std::string_view kPullStalled = "IMAGE_PULL_STALLED";
inline constexpr std::string_view kPullFailed = "IMAGE_PULL_FAILED";  // all else

// The error of a pull about which the engine says this. It hands the registry's words on as text,
// so that words are all there is to go by. The message explains, then quotes.
absl::Status PullError(std::string_view words);

// A pull that did not move for so long.
absl::Status PullStalledError(std::string_view limit);

// The same pull may succeed a little later: the registry is busy, away or has a defect of its own,
// or the engine went away.
bool IsTemporaryPullError(const absl::Status& status);

}  // namespace dstack::docker
