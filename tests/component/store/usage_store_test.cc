#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

UsageStore::Row Row(const std::string& id, std::int64_t seconds, double cpus) {
  UsageStore::Row row{.subject_id = id, .point = {}};
  row.point.mutable_time()->set_seconds(seconds);
  row.point.set_cpus_used(cpus);
  return row;
}

std::vector<std::int64_t> Times(const absl::StatusOr<std::vector<api::v1::UsagePoint>>& points) {
  REQUIRE(points.ok());
  std::vector<std::int64_t> times;
  for (const auto& point : *points) times.push_back(point.time().seconds());
  return times;
}

TimePoint At(std::int64_t seconds) { return TimePoint(std::chrono::seconds(seconds)); }

TEST_CASE("points are stored once and read by window, oldest first") {
  StoreFixture f;
  UsageStore& usage = f.stores.usage;
  const std::string a = f.ids.NewId();
  const std::string b = f.ids.NewId();
  REQUIRE(
      usage.Append({Row(a, 1'000, 1), Row(b, 1'000, 5), Row(a, 1'010, 2), Row(a, 1'020, 3)}).ok());
  REQUIRE(usage.Append({Row(a, 1'000, 9)}).ok());
  CHECK(Times(usage.Read(a, {.limit = 10})) == std::vector<std::int64_t>{1'000, 1'010, 1'020});
  CHECK(usage.Read(a, {.limit = 10})->front().cpus_used() == 1);
  CHECK(Times(usage.Read(a, {})) == std::vector<std::int64_t>{1'020});
  CHECK(Times(usage.Read(a, {.limit = 10, .after = At(1'000), .before = At(1'020)})) ==
        std::vector<std::int64_t>{1'010});
  CHECK(Times(usage.Read(b, {.limit = 10})) == std::vector<std::int64_t>{1'000});
  CHECK(usage.Read(f.ids.NewId(), {})->empty());
  CHECK(absl::IsInvalidArgument(usage.Append({Row("no id", 1, 1)})));
}

}  // namespace
}  // namespace dstack::server
