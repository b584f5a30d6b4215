#include "libs/telemetry/metrics.h"

#include <catch2/catch.hpp>

namespace dstack::telemetry {
namespace {

TEST_CASE("metrics render in the text format") {
  Metrics metrics;
  metrics.Counter("dstack_test_runs_total", "Runs.", {{"state", "done"}}).Increment(2);
  metrics.Gauge("dstack_test_hosts", "Hosts.").Set(5);
  metrics.Histogram("dstack_test_seconds", "Time.", {}, {0.1, 1}).Observe(0.5);
  const std::string text = metrics.Render();
  CHECK_THAT(text, Catch::Contains("# HELP dstack_test_runs_total Runs."));
  CHECK_THAT(text, Catch::Contains("dstack_test_runs_total{state=\"done\"} 2"));
  CHECK_THAT(text, Catch::Contains("dstack_test_hosts 5"));
  CHECK_THAT(text, Catch::Contains("dstack_test_seconds_bucket{le=\"1\"} 1"));
}

TEST_CASE("the same name and labels give the same object") {
  Metrics metrics;
  auto& first = metrics.Counter("dstack_test_total", "Things.", {{"a", "x"}});
  CHECK(&first == &metrics.Counter("dstack_test_total", "Things.", {{"a", "x"}}));
  CHECK(&first != &metrics.Counter("dstack_test_total", "Things.", {{"a", "y"}}));
}

}  // namespace
}  // namespace dstack::telemetry
