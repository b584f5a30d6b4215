#include "libs/testing/log_capture.h"

#include <catch2/catch.hpp>

namespace dstack::testing {
namespace {

TEST_CASE("a capture holds what was logged while it lived") {
  LogCapture capture;
  telemetry::Warn("something odd", {{"run_id", "r1"}});
  CHECK(capture.Contains("run_id=r1"));
  CHECK_FALSE(capture.Contains("r2"));
  CHECK(capture.lines() == std::vector<std::string>{"warning something odd run_id=r1"});
}

}  // namespace
}  // namespace dstack::testing
