#include "libs/base/status.h"

#include <cerrno>

#include <catch2/catch.hpp>

#include "google/rpc/error_details.pb.h"

namespace dstack::base {
namespace {

TEST_CASE("an error keeps code, message, reason and metadata") {
  const absl::Status status = Error(
      absl::StatusCode::kResourceExhausted, "NO_CAPACITY", "no offer fits", {{"job_id", "j1"}});
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(Message(status) == "no offer fits");
  CHECK(Reason(status) == "NO_CAPACITY");
  CHECK(Metadata(status) == std::map<std::string, std::string>{{"job_id", "j1"}});
}

TEST_CASE("the reason travels as google.rpc.ErrorInfo") {
  const absl::Status status = Error(absl::StatusCode::kInternal, "R", "m");
  google::rpc::ErrorInfo info;
  const auto payload = status.GetPayload(ToAbsl(kErrorInfoUrl));
  REQUIRE(payload.has_value());
  REQUIRE(info.ParseFromString(std::string(*payload)));
  CHECK(info.reason() == "R");
  CHECK(info.domain() == "dstack");
}

TEST_CASE("a status without details has no reason, a broken payload neither") {
  CHECK(Reason(absl::OkStatus()).empty());
  CHECK(Reason(absl::InternalError("x")).empty());
  absl::Status broken = absl::InternalError("x");
  broken.SetPayload(ToAbsl(kErrorInfoUrl), absl::Cord("\xff\xff\xff"));
  CHECK(Reason(broken).empty());
}

TEST_CASE("annotate puts context in front and keeps the details") {
  const absl::Status status =
      Annotate(Error(absl::StatusCode::kUnavailable, "R", "refused"), "pulling {}", "busybox");
  CHECK(Message(status) == "pulling busybox: refused");
  CHECK(Reason(status) == "R");
  CHECK(Annotate(absl::OkStatus(), "x").ok());
}

TEST_CASE("invalid fields lists everything that is wrong") {
  CHECK(InvalidFields({}).ok());
  const std::vector<FieldViolation> violations = {
      {"name", "'A B' must match [a-z0-9-]+", ""},
      {"resources.cpu", "-1 is below 0", "OUT_OF_RANGE"},
  };
  const absl::Status status = InvalidFields(violations);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Reason(status) == "INVALID_FIELDS");
  CHECK(FieldViolations(status) == violations);
  CHECK(Message(status) ==
        "2 fields are wrong:\n  name: 'A B' must match [a-z0-9-]+\n  resources.cpu: -1 is below 0");
  CHECK(Message(InvalidField("name", "is empty")) == "name: is empty");
}

TEST_CASE("not found names the resource") {
  const absl::Status status = NotFound("RUN_NOT_FOUND", "run", "gentle-cat-1");
  CHECK(Message(status) == "run gentle-cat-1 not found");
  google::rpc::ResourceInfo info;
  REQUIRE(info.ParseFromString(std::string(*status.GetPayload(ToAbsl(kResourceInfoUrl)))));
  CHECK(info.resource_type() == "run");
}

TEST_CASE("retry delay survives") {
  const absl::Status status =
      WithRetryAfter(absl::UnavailableError("down"), std::chrono::milliseconds(1250));
  CHECK(RetryAfter(status) == std::chrono::milliseconds(1250));
  CHECK(RetryAfter(absl::UnavailableError("down")) == std::nullopt);
}

TEST_CASE("errno maps to a code and a readable message") {
  const absl::Status status = ErrnoError(ENOENT, "opening /x");
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(Message(status) == "opening /x: No such file or directory");
  CHECK(Reason(status).empty());
  for (const int error : {ENOSPC, EDQUOT}) {
    CHECK(absl::IsResourceExhausted(ErrnoError(error, "/x")));
    CHECK(Reason(ErrnoError(error, "/x")) == kDiskFull);
  }
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return Invalid("odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  ASSIGN_OR_RETURN(const int half, Half(value));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST_CASE("the macros return the first error") {
  CHECK(*Quarter(8) == 2);
  CHECK(Quarter(6).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("codes have their gRPC names") {
  CHECK(CodeName(absl::StatusCode::kOk) == "OK");
  CHECK(CodeName(absl::StatusCode::kFailedPrecondition) == "FAILED_PRECONDITION");
  CHECK(IsTransient(absl::AbortedError("x")));
  CHECK_FALSE(IsTransient(absl::InternalError("x")));
}

}  // namespace
}  // namespace dstack::base
