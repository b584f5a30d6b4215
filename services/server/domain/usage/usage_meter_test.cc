#include "services/server/domain/usage/usage_meter.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

TimePoint At(int second) { return TimePoint(std::chrono::seconds(1'000 + second)); }

shim::v1::TaskMetrics Task(std::uint64_t cpu_micros, double gpu_usage) {
  shim::v1::TaskMetrics metrics;
  metrics.set_cpu_usage_micros(cpu_micros);
  metrics.set_memory_used_bytes(cpu_micros / 100);
  metrics.add_gpus()->set_usage_ratio(gpu_usage);
  return metrics;
}

TEST_CASE("ten samples become one point: averages of rates, the last of the rest") {
  UsageMeter meter;
  for (int second = 0; second < 10; ++second) {
    const auto cpu_micros = static_cast<std::uint64_t>(second) * 2'000'000;
    const double gpu_usage = second < 5 ? 0.0 : 1.0;
    CHECK_FALSE(meter.Add(SampleOfTask(Task(cpu_micros, gpu_usage), At(second))));
  }
  const auto point = meter.Add(SampleOfTask(Task(20'000'000, 1), At(10)));
  REQUIRE(point.has_value());
  CHECK(point->time().seconds() == 1'010);
  CHECK(point->cpus_used() == Approx(2.0));
  CHECK(point->memory_used_bytes() == 180'000);
  CHECK(point->gpus(0).usage_ratio() == Approx(0.5));
  CHECK_FALSE(point->has_network_sent_bytes());
  // The next one goes on from the last sample of the one before.
  CHECK(meter.Finish()->cpus_used() == Approx(2.0));
  CHECK_FALSE(meter.Finish().has_value());
}

TEST_CASE("one sample alone gives no processor time; old and repeated ones nothing") {
  UsageMeter meter;
  meter.Add(SampleOfTask(Task(7, 1), At(3)));
  CHECK_FALSE(meter.Add(SampleOfTask(Task(9, 0), At(3))));
  CHECK_FALSE(meter.Add(SampleOfTask(Task(9, 0), At(1))));
  const auto point = meter.Finish();
  REQUIRE(point.has_value());
  CHECK_FALSE(point->has_cpus_used());
  CHECK(point->gpus(0).usage_ratio() == 1);
}

TEST_CASE("a silence gives no points for itself") {
  UsageMeter meter;
  meter.Add(SampleOfTask(Task(0, 1), At(0)));
  CHECK(meter.Add(SampleOfTask(Task(50'000'000, 1), At(100)))->time().seconds() == 1'010);
  const auto point = meter.Finish();
  CHECK(point->time().seconds() == 1'110);
  CHECK(point->cpus_used() == Approx(0.5));
}

TEST_CASE("accelerators that come in the middle of an interval are not mixed with none") {
  UsageMeter meter;
  shim::v1::TaskMetrics none;
  meter.Add(SampleOfTask(none, At(0)));
  meter.Add(SampleOfTask(Task(0, 0.8), At(1)));
  CHECK(meter.Finish()->gpus(0).usage_ratio() == Approx(0.8));
}

TEST_CASE("a counter that begins anew is no negative use") {
  UsageMeter meter;
  meter.Add(SampleOfTask(Task(5'000'000, 0), At(0)));
  meter.Add(SampleOfTask(Task(1'000, 0), At(1)));
  CHECK(meter.Finish()->cpus_used() == 0);
}

TEST_CASE("a host's share of its processors becomes a number of them") {
  shim::v1::HostMetrics metrics;
  metrics.set_cpu_usage_ratio(0.25);
  metrics.set_disk_free_bytes(7);
  UsageMeter meter;
  meter.Add(SampleOfHost(metrics, 8, At(0)));
  const auto point = meter.Finish();
  CHECK(point->cpus_used() == Approx(2.0));
  CHECK(point->disk_free_bytes() == 7);
}

TEST_CASE("what only the view from inside knows is added to that from outside") {
  UsageMeter outside;
  outside.Add(SampleOfTask(shim::v1::TaskMetrics(), At(0)));
  runner::v1::JobMetrics metrics;
  metrics.add_gpus()->set_utilization_ratio(0.5);
  metrics.set_memory_working_set_bytes(9);
  UsageMeter inside;
  inside.Add(SampleOfJob(metrics, At(0)));
  const auto from_inside = inside.Finish();
  const auto joined = JoinPoints(outside.Finish(), from_inside);
  CHECK(joined->gpus(0).usage_ratio() == 0.5);
  CHECK(joined->memory_used_bytes() == 0);
  CHECK(JoinPoints(std::nullopt, from_inside)->memory_used_bytes() == 9);
  CHECK_FALSE(JoinPoints(std::nullopt, std::nullopt).has_value());
}

}  // namespace
}  // namespace dstack::server
