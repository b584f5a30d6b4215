#include "services/shim/domain/gpu_ledger.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

using Ids = std::vector<std::string>;

TEST_CASE("G1: a host without accelerators has nothing to give") {
  GpuLedger ledger({});
  CHECK(ledger.free_count() == 0);
  CHECK(ledger.Acquire("t", -1).value().empty());
  CHECK(ledger.Acquire("t", 1).status().code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("G4: counts that make no sense are errors that quote them") {
  GpuLedger ledger({"a"});
  for (const int count : {0, -2}) {
    const absl::Status status = ledger.Acquire("t", count).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find(std::to_string(count)) != std::string::npos);
  }
}

TEST_CASE("G5, G6: minus one takes all that is free, even if that is nothing") {
  GpuLedger ledger({"a", "b", "c"});
  REQUIRE(ledger.Acquire("t1", 1).value() == Ids{"a"});
  CHECK(ledger.Acquire("t2", -1).value() == Ids{"b", "c"});
  CHECK(ledger.Acquire("t3", -1).value().empty());
}

TEST_CASE("G7: n distinct free ones, and only those") {
  GpuLedger ledger({"a", "b", "c"});
  CHECK(ledger.Acquire("t1", 2).value() == Ids{"a", "b"});
  CHECK(ledger.Acquire("t2", 1).value() == Ids{"c"});
  CHECK(ledger.free_count() == 0);
}

TEST_CASE("G8: a shortage states both numbers and takes nothing") {
  GpuLedger ledger({"a", "b"});
  const absl::Status status = ledger.Acquire("t", 3).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message() == "3 accelerators were requested, 2 are free");
  CHECK(ledger.free_count() == 2);
}

TEST_CASE("G9, G10: locking takes the known and free ones") {
  GpuLedger ledger({"a", "b", "c"});
  REQUIRE(ledger.Lock("t1", {"a"}) == Ids{"a"});
  CHECK(ledger.Lock("t2", {"a", "x", "c"}) == Ids{"c"});
  CHECK(ledger.Lock("t2", {}).empty());
}

TEST_CASE("G11: a release gives back the holder's own, once") {
  GpuLedger ledger({"a", "b"});
  REQUIRE(ledger.Acquire("t1", 1).ok());
  CHECK(ledger.Release("t2").empty());
  CHECK(ledger.Release("t1") == Ids{"a"});
  // Another task has it now; a second release of the old holder must not take it away.
  REQUIRE(ledger.Acquire("t2", 1).value() == Ids{"a"});
  CHECK(ledger.Release("t1").empty());
  CHECK(ledger.free_count() == 1);
}

}  // namespace
}  // namespace dstack::shim
