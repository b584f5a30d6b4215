#include "services/shim/api/drain_store.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {
namespace {

TEST_CASE("a drain refuses new tasks with its reason, also after a restart") {
  const testing::TempDir dir;
  StatusBoard board;
  v1::TaskStatus task;
  task.set_task_id("a");
  task.set_state(v1::TASK_STATE_RUNNING);
  board.Publish(task);
  {
    DrainStore drain(ShimHome(dir.path()), board);
    REQUIRE(drain.Load().ok());
    CHECK(drain.CheckTakesTasks().ok());
    REQUIRE(drain.Set(true, "new disk").ok());
  }
  DrainStore drain(ShimHome(dir.path()), board);
  REQUIRE(drain.Load().ok());
  const absl::Status refusal = drain.CheckTakesTasks();
  CHECK(base::Reason(refusal) == "HOST_DRAINING");
  CHECK(std::string(base::Message(refusal)).find("new disk") != std::string::npos);
  CHECK(drain.status().live_tasks() == 1);
  task.set_state(v1::TASK_STATE_TERMINATED);
  board.Publish(task);
  CHECK(drain.status().live_tasks() == 0);
  REQUIRE(drain.Set(false, "").ok());
  CHECK(drain.CheckTakesTasks().ok());
  CHECK_FALSE(drain.status().is_draining());
}

TEST_CASE("a drain needs a reason that people can read") {
  const testing::TempDir dir;
  StatusBoard board;
  DrainStore drain(ShimHome(dir.path()), board);
  for (const std::string& reason : {std::string(), std::string(257, 'x'), std::string("a\nb")}) {
    CHECK(base::Reason(drain.Set(true, reason)) == "INVALID_FIELDS");
  }
  CHECK_FALSE(drain.is_draining());
}

}  // namespace
}  // namespace dstack::shim
