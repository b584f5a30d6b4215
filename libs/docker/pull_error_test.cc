#include "libs/docker/pull_error.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::docker {
namespace {

TEST_CASE("the engine's words about a failed pull get a reason") {
  const struct {
    const char* words;
    std::string_view reason;
    absl::StatusCode code;
    bool is_temporary;
  } rows[] = {
      {"Head \"http://127.0.0.1:5000/v2/a/manifests/1\": no basic auth credentials",
       kPullUnauthorized,
       absl::StatusCode::kPermissionDenied,
       false},
      {"unauthorized: authentication required",
       kPullUnauthorized,
       absl::StatusCode::kPermissionDenied,
       false},
      {"pull access denied for x, repository does not exist or may require 'docker login': denied: "
       "requested access to the resource is denied",
       kPullForbidden,
       absl::StatusCode::kPermissionDenied,
       false},
      {"error parsing HTTP 403 response body: unexpected end of JSON input: \"\"",
       kPullForbidden,
       absl::StatusCode::kPermissionDenied,
       false},
      {"manifest for x:1 not found: manifest unknown: manifest unknown",
       kPullNotFound,
       absl::StatusCode::kNotFound,
       false},
      {"toomanyrequests: You have reached your pull rate limit.",
       kPullRateLimited,
       absl::StatusCode::kResourceExhausted,
       true},
      {"error parsing HTTP 429 response body: invalid character 's'",
       kPullRateLimited,
       absl::StatusCode::kResourceExhausted,
       true},
      {"failed to register layer: write /x: no space left on device",
       kPullDiskFull,
       absl::StatusCode::kResourceExhausted,
       false},
      {"Get \"https://no.example/v2/\": dial tcp: lookup no.example on 1.1.1.1:53: no such host",
       kPullUnresolved,
       absl::StatusCode::kUnavailable,
       false},
      {"Get \"https://a.example/v2/\": dial tcp: lookup a.example: Temporary failure in name "
       "resolution",
       kPullUnresolved,
       absl::StatusCode::kUnavailable,
       true},
      {"Get \"https://a/v2/\": x509: certificate signed by unknown authority",
       kPullTls,
       absl::StatusCode::kFailedPrecondition,
       false},
      {"Get \"https://a/v2/\": http: server gave HTTP response to HTTPS client",
       kPullTls,
       absl::StatusCode::kFailedPrecondition,
       false},
      {"Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
       kPullUnreachable,
       absl::StatusCode::kUnavailable,
       true},
      {"received unexpected HTTP status: 500 Internal Server Error",
       kPullServerError,
       absl::StatusCode::kUnavailable,
       true},
      {"invalid reference format", kPullInvalid, absl::StatusCode::kInvalidArgument, false},
      {"something new", kPullFailed, absl::StatusCode::kUnavailable, true},
  };
  for (const auto& row : rows) {
    INFO(row.words);
    const absl::Status status = PullError(row.words);
    CHECK(base::Reason(status) == row.reason);
    CHECK(status.code() == row.code);
    CHECK(IsTemporaryPullError(status) == row.is_temporary);
    CHECK(base::Message(status).find(row.words) != std::string_view::npos);
  }
}

TEST_CASE("a stalled pull is tried again, a cancelled one is not") {
  CHECK(IsTemporaryPullError(PullStalledError("600 s")));
  CHECK_FALSE(IsTemporaryPullError(absl::CancelledError("")));
}

}  // namespace
}  // namespace dstack::docker
