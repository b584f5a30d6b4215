#include "services/shim/domain/task_machine.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/fsm/dot.h"
#include "libs/testing/paths.h"

namespace dstack::shim {
namespace {

TEST_CASE("S12 every live state can end, in no other order than forward") {
  CHECK(NextState(v1::TASK_STATE_PENDING, TaskEvent::kStart).value() == v1::TASK_STATE_PREPARING);
  CHECK(NextState(v1::TASK_STATE_PREPARING, TaskEvent::kPrepared).value() ==
        v1::TASK_STATE_PULLING);
  CHECK(NextState(v1::TASK_STATE_PULLING, TaskEvent::kImageReady).value() ==
        v1::TASK_STATE_CREATING);
  CHECK(NextState(v1::TASK_STATE_CREATING, TaskEvent::kStarted).value() == v1::TASK_STATE_RUNNING);
  for (int state = v1::TASK_STATE_PENDING; state <= v1::TASK_STATE_RUNNING; ++state) {
    CHECK(NextState(static_cast<v1::TaskState>(state), TaskEvent::kEnded).value() ==
          v1::TASK_STATE_TERMINATED);
  }
}

// The table of the original, where a running task was told to run again to add its ports, and an
// ended one to end again: here both are the same state written again, not transitions.
TEST_CASE("S13 skipped and backward transitions are refused") {
  const struct {
    v1::TaskState from;
    TaskEvent event;
  } rows[] = {
      {v1::TASK_STATE_PENDING, TaskEvent::kPrepared},
      {v1::TASK_STATE_PENDING, TaskEvent::kStarted},
      {v1::TASK_STATE_PREPARING, TaskEvent::kStart},
      {v1::TASK_STATE_PULLING, TaskEvent::kStart},
      {v1::TASK_STATE_PULLING, TaskEvent::kStarted},
      {v1::TASK_STATE_RUNNING, TaskEvent::kStarted},
      {v1::TASK_STATE_TERMINATED, TaskEvent::kStart},
      {v1::TASK_STATE_TERMINATED, TaskEvent::kEnded},
  };
  for (const auto& row : rows) {
    INFO(StateName(row.from) << " " << EventName(row.event));
    CHECK(NextState(row.from, row.event).status().code() ==
          absl::StatusCode::kFailedPrecondition);
  }
}

TEST_CASE("S10 a refused event names both sides") {
  const absl::Status status = NextState(v1::TASK_STATE_TERMINATED, TaskEvent::kStarted).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(std::string(status.message()).find("TERMINATED") != std::string::npos);
  CHECK(std::string(status.message()).find("started") != std::string::npos);
  CHECK_FALSE(NextState(v1::TASK_STATE_PENDING, TaskEvent::kStarted).ok());
  CHECK_FALSE(NextState(v1::TASK_STATE_PULLING, TaskEvent::kStart).ok());
}

TEST_CASE("the diagram in the README is the table") {
  const auto readme = base::ReadFile(testing::SourceDir() + "/services/shim/README.md");
  REQUIRE(readme.ok());
  const std::string diagram =
      fsm::ToMermaid("PENDING", fsm::Named(kTaskEdges, StateName, EventName));
  INFO(diagram);
  CHECK(readme->find(diagram) != std::string::npos);
}

}  // namespace
}  // namespace dstack::shim
