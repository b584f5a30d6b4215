#include "services/server/domain/instance/drain.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

const TimePoint kNow{std::chrono::seconds(1'000)};

Instance Wishing(const std::string& reason, bool is_confirmed) {
  Instance instance;
  if (!reason.empty()) instance.drain = InstanceDrain{.reason = reason, .since = kNow};
  instance.is_drain_confirmed = is_confirmed;
  return instance;
}

TEST_CASE("a wish is confirmed by the host's answer, once nothing runs it is empty") {
  Instance instance = Wishing("new kernel", false);
  instance.busy_blocks = 1;
  CHECK(ApplyDrainReport({true, "new kernel", 1}, kNow, instance));
  CHECK(instance.is_drain_confirmed);
  CHECK(instance.drain_live_tasks == 1);
  CHECK_FALSE(ApplyDrainReport({true, "new kernel", 1}, kNow, instance));
  CHECK(ApplyDrainReport({true, "new kernel", 0}, kNow, instance));
  CHECK_FALSE(IsDrainedEmpty(instance));  // the container is still being removed
  instance.busy_blocks = 0;
  CHECK(IsDrainedEmpty(instance));
}

TEST_CASE("reports about an older wish change nothing") {
  Instance lifted = Wishing("", false);
  CHECK_FALSE(ApplyDrainReport({true, "new kernel", 1}, kNow, lifted));
  CHECK_FALSE(lifted.drain.has_value());
  CHECK(ApplyDrainReport({}, kNow, lifted));
  CHECK(lifted.is_drain_confirmed);

  Instance drained = Wishing("new disk", false);
  CHECK_FALSE(ApplyDrainReport({true, "new kernel", 1}, kNow, drained));
  CHECK(drained.drain->reason == "new disk");
}

TEST_CASE("a drain that was set on the host itself is taken over") {
  Instance instance = Wishing("", true);
  CHECK(ApplyDrainReport({true, "set by hand", 2}, kNow, instance));
  REQUIRE(instance.drain.has_value());
  CHECK(instance.drain->reason == "set by hand");
  CHECK(instance.drain->since == kNow);
  CHECK(instance.is_drain_confirmed);
}

TEST_CASE("a host that has forgotten its drain is told again") {
  Instance instance = Wishing("new kernel", true);
  CHECK(ApplyDrainReport({}, kNow, instance));
  CHECK(instance.drain.has_value());
  CHECK_FALSE(instance.is_drain_confirmed);
  CHECK_FALSE(IsDrainedEmpty(instance));
}

}  // namespace
}  // namespace dstack::server
