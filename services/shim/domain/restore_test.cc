#include "services/shim/domain/restore.h"

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

struct Row {
  const char* name;
  v1::TaskState state;
  bool has_container_id;
  std::optional<ContainerState> container;
  RestoreAction action;
};

TEST_CASE("what a restart does, by the record and the container") {
  using enum ContainerState;
  const Row rows[] = {
      {"died after submit", v1::TASK_STATE_PENDING, false, {}, RestoreAction::kPrepare},
      {"died while preparing", v1::TASK_STATE_PREPARING, false, {}, RestoreAction::kPrepare},
      {"died while pulling", v1::TASK_STATE_PULLING, false, {}, RestoreAction::kFetchImage},
      {"died before create", v1::TASK_STATE_CREATING, false, {}, RestoreAction::kFetchImage},
      {"died after create", v1::TASK_STATE_CREATING, false, kCreated, RestoreAction::kStart},
      {"died before start", v1::TASK_STATE_CREATING, true, kCreated, RestoreAction::kStart},
      {"died after start", v1::TASK_STATE_CREATING, true, kRunning, RestoreAction::kAdopt},
      {"ended unseen", v1::TASK_STATE_CREATING, true, kExited, RestoreAction::kReport},
      {"removed by hand", v1::TASK_STATE_CREATING, true, {}, RestoreAction::kVanished},
      {"still runs", v1::TASK_STATE_RUNNING, true, kRunning, RestoreAction::kAdopt},
      {"ended meanwhile", v1::TASK_STATE_RUNNING, true, kExited, RestoreAction::kReport},
      {"gone meanwhile", v1::TASK_STATE_RUNNING, true, {}, RestoreAction::kVanished},
      {"over", v1::TASK_STATE_TERMINATED, true, kExited, RestoreAction::kKeep},
      {"over, undone", v1::TASK_STATE_TERMINATED, false, {}, RestoreAction::kKeep},
      {"older record than life", v1::TASK_STATE_PULLING, false, kRunning, RestoreAction::kAdopt},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    record::TaskRecord record;
    record.mutable_status()->set_state(row.state);
    if (row.has_container_id) record.mutable_status()->set_container_id("c");
    std::optional<ContainerStatus> container;
    if (row.container) container = ContainerStatus{.state = *row.container};
    CHECK(ActionName(DecideRestore(record, container)) == ActionName(row.action));
    record.set_is_removing(true);
    CHECK(DecideRestore(record, container) == RestoreAction::kRemove);
  }
}

}  // namespace
}  // namespace dstack::shim
