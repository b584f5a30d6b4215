#include "libs/rpc/status_mapping.h"

#include <string>

#include <catch2/catch.hpp>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace dstack::rpc {
namespace {

absl::Status WithReason(absl::StatusCode code, const std::string& message) {
  absl::Status status(code, message);
  google::rpc::ErrorInfo info;
  info.set_reason("RUN_NOT_FOUND");
  info.set_domain("dstack");
  (*info.mutable_metadata())["run_name"] = "wet-mongoose-1";
  AddDetail(status, info);
  return status;
}

TEST_CASE("an error keeps code, message, reason and metadata across a hop") {
  const absl::Status there = WithReason(absl::StatusCode::kNotFound, "run x: 100% gone");
  const absl::Status back = FromGrpc(ToGrpc(there));
  REQUIRE(back.code() == absl::StatusCode::kNotFound);
  REQUIRE(back.message() == "run x: 100% gone");
  google::rpc::ErrorInfo info;
  REQUIRE(GetDetail(back, &info));
  REQUIRE(info.reason() == "RUN_NOT_FOUND");
  REQUIRE(info.metadata().at("run_name") == "wet-mongoose-1");
}

TEST_CASE("every canonical code survives") {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "m");
    CHECK(FromGrpc(ToGrpc(status)) == status);
  }
  REQUIRE(ToGrpc(absl::OkStatus()).ok());
  REQUIRE(FromGrpc(grpc::Status()).ok());
}

TEST_CASE("an unknown code becomes UNKNOWN and unreadable details are ignored") {
  const absl::Status strange =
      FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(25), "hm", "\xFF\xFF not a proto"));
  REQUIRE(strange.code() == absl::StatusCode::kUnknown);
  REQUIRE(strange.message() == "hm");
}

TEST_CASE("a long message is cut at a character and stays below the limit of peers") {
  std::string message;
  for (int i = 0; i < 4000; ++i) message += "\xC3\xA4";
  const grpc::Status wire = ToGrpc(WithReason(absl::StatusCode::kInternal, message));
  const std::string text = wire.error_message();
  REQUIRE(text.size() * 3 <= 2048 + 9);
  REQUIRE(text.substr(text.size() - 3) == "...");
  REQUIRE((text.size() - 3) % 2 == 0);
  REQUIRE(wire.error_details().size() <= 5000);
  google::rpc::ErrorInfo info;
  REQUIRE(GetDetail(FromGrpc(wire), &info));
}

TEST_CASE("bytes that are not UTF-8 do not break the details") {
  const absl::Status back =
      FromGrpc(ToGrpc(WithReason(absl::StatusCode::kInternal, "bad \xFF byte")));
  REQUIRE(back.message() == "bad ? byte");
}

TEST_CASE("too many violations are cut and counted") {
  absl::Status status = WithReason(absl::StatusCode::kInvalidArgument, "many fields are wrong");
  google::rpc::BadRequest bad_request;
  for (int i = 0; i < 500; ++i) {
    auto* violation = bad_request.add_field_violations();
    violation->set_field("commands[" + std::to_string(i) + "]");
    violation->set_description("must not be empty");
  }
  AddDetail(status, bad_request);
  const grpc::Status wire = ToGrpc(status);
  REQUIRE(wire.error_details().size() <= 5000);
  google::rpc::BadRequest back;
  REQUIRE(GetDetail(FromGrpc(wire), &back));
  const int kept = back.field_violations_size() - 1;
  REQUIRE(kept > 50);
  REQUIRE(back.field_violations(kept).description() ==
          std::to_string(500 - kept) + " more problems are not listed");
}

TEST_CASE("a detail that is too large leaves the reason alone") {
  absl::Status status = WithReason(absl::StatusCode::kInternal, "m");
  google::rpc::DebugInfo debug;
  debug.set_detail(std::string(9000, 'x'));
  AddDetail(status, debug);
  const absl::Status back = FromGrpc(ToGrpc(status));
  google::rpc::ErrorInfo info;
  REQUIRE(GetDetail(back, &info));
  REQUIRE_FALSE(GetDetail(back, &debug));
}

}  // namespace
}  // namespace dstack::rpc
