#include "libs/docker/pull_error.h"

#include <algorithm>
#include <array>
#include <string>

#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include "libs/base/status.h"

namespace dstack::docker {
namespace {

struct Pattern {
  std::string_view words;  // in lower case
  std::string_view reason;
};

// The first match wins: what is specific stands before what is general. The words are those of
// Docker Engine 20.10 to 27 and of the registries behind it.
constexpr std::array kPatterns = {
    Pattern{"no space left on device", kPullDiskFull},
    Pattern{"disk quota exceeded", kPullDiskFull},
    Pattern{"toomanyrequests", kPullRateLimited},
    Pattern{"too many requests", kPullRateLimited},
    Pattern{"http 429", kPullRateLimited},
    Pattern{"status: 429", kPullRateLimited},
    Pattern{"x509:", kPullTls},
    Pattern{"tls:", kPullTls},
    Pattern{"http response to https client", kPullTls},
    Pattern{"no such host", kPullUnresolved},
    Pattern{"server misbehaving", kPullUnresolved},
    Pattern{"name resolution", kPullUnresolved},
    Pattern{"invalid reference format", kPullInvalid},
    Pattern{"invalid repository name", kPullInvalid},
    Pattern{"unauthorized", kPullUnauthorized},
    Pattern{"no basic auth credentials", kPullUnauthorized},
    Pattern{"authentication required", kPullUnauthorized},
    Pattern{"http 401", kPullUnauthorized},
    Pattern{"status: 401", kPullUnauthorized},
    Pattern{"pull access denied", kPullForbidden},
    Pattern{"access to the resource is denied", kPullForbidden},
    Pattern{"denied:", kPullForbidden},
    Pattern{"forbidden", kPullForbidden},
    Pattern{"http 403", kPullForbidden},
    Pattern{"manifest unknown", kPullNotFound},
    Pattern{"no matching manifest", kPullNotFound},
    Pattern{"name unknown", kPullNotFound},
    Pattern{"not found", kPullNotFound},
    Pattern{"http 404", kPullNotFound},
    Pattern{"unexpected http status: 5", kPullServerError},
    Pattern{"http 5", kPullServerError},
    Pattern{"status: 5", kPullServerError},
    Pattern{"connection refused", kPullUnreachable},
    Pattern{"connection reset", kPullUnreachable},
    Pattern{"network is unreachable", kPullUnreachable},
    Pattern{"no route to host", kPullUnreachable},
    Pattern{"i/o timeout", kPullUnreachable},
    Pattern{"timeout exceeded", kPullUnreachable},
    Pattern{"request canceled", kPullUnreachable},
    Pattern{"unexpected eof", kPullUnreachable},
    Pattern{": eof", kPullUnreachable},
};

struct Kind {
  std::string_view reason;
  absl::StatusCode code;
  std::string_view explanation;
};

constexpr std::array kKinds = {
    Kind{kPullUnauthorized,
         absl::StatusCode::kPermissionDenied,
         "the registry does not accept the credentials (401)"},
    Kind{kPullForbidden,
         absl::StatusCode::kPermissionDenied,
         "the registry denies access, or there is no such repository (403)"},
    Kind{kPullNotFound, absl::StatusCode::kNotFound, "the registry has no such image (404)"},
    Kind{kPullRateLimited,
         absl::StatusCode::kResourceExhausted,
         "the registry limits the rate of pulls (429)"},
    Kind{kPullDiskFull, absl::StatusCode::kResourceExhausted, "the host's disk is full"},
    Kind{kPullUnresolved, absl::StatusCode::kUnavailable, "the registry's name cannot be resolved"},
    Kind{kPullTls, absl::StatusCode::kFailedPrecondition, "no trusted TLS with the registry"},
    Kind{kPullUnreachable, absl::StatusCode::kUnavailable, "the registry cannot be reached"},
    Kind{kPullServerError, absl::StatusCode::kUnavailable, "the registry failed (5xx)"},
    Kind{kPullInvalid, absl::StatusCode::kInvalidArgument, "this is no image reference"},
};

// A name that does not exist is not looked up again; a name server that does not answer is asked
// again.
bool IsFinalLookup(const absl::Status& status) {
  return base::Message(status).find("no such host") != std::string_view::npos;
}

}  // namespace

absl::Status PullError(std::string_view words) {
  const std::string lower = absl::AsciiStrToLower(base::ToAbsl(words));
  const auto pattern = std::find_if(kPatterns.begin(), kPatterns.end(), [&](const Pattern& p) {
    return lower.find(p.words) != lower.npos;
  });
  if (pattern == kPatterns.end()) {
    return base::Error(absl::StatusCode::kUnavailable, kPullFailed, words);
  }
  const auto kind = std::find_if(
      kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.reason == pattern->reason; });
  return base::Error(kind->code, kind->reason, fmt::format("{}: {}", kind->explanation, words));
}

absl::Status PullStalledError(std::string_view limit) {
  return base::Error(absl::StatusCode::kDeadlineExceeded,
                     kPullStalled,
                     fmt::format("nothing of the image came for {}", limit));
}

bool IsTemporaryPullError(const absl::Status& status) {
  const std::string reason = base::Reason(status);
  if (reason == kPullRateLimited || reason == kPullStalled) return true;
  return absl::IsUnavailable(status) && !IsFinalLookup(status);
}

}  // namespace dstack::docker
