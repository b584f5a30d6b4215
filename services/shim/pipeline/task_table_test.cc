// Tasks on a fake runtime and a fake journal; one manual executor plays all threads.
#include "services/shim/pipeline/task_table.h"

#include <chrono>
#include <set>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/log_capture.h"
#include "services/shim/domain/container_name.h"
#include "services/shim/pipeline/table_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using Op = FakeContainerRuntime::Op;

TEST_CASE("a task passes all states, each of them recorded before it acts") {
  TableFixture f;
  f.runtime.SetImage({.entrypoint = {"/entry"}, .user = "worker"});
  REQUIRE(f.Submit().ok());
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
  CHECK(f.journal.saved_states(kId) == std::vector{v1::TASK_STATE_PENDING,
                                                   v1::TASK_STATE_PREPARING,
                                                   v1::TASK_STATE_PULLING,
                                                   v1::TASK_STATE_CREATING,
                                                   v1::TASK_STATE_RUNNING});
  const ShimHome home(f.dir.path());
  CHECK(base::ReadFile(home.RunnerDir(kId) + "/token").value_or("") == MakeSpec().runner_token());
  CHECK(base::ReadFile(home.ShortRunnerDir(kId) + "/image_config.json")
            .value_or("")
            .find("\"user\":\"worker\"") != std::string::npos);
  CHECK(f.Status().runner_socket() == home.RunnerSocket(kId));

  f.runtime.Exit(kId, 0);
  f.executor->RunReady();
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_DONE_BY_RUNNER);
  CHECK(f.Status().exit_status() == 0);
  CHECK(f.delivery.tasks.contains(kId));

  CHECK(f.Remove().ok());
  CHECK(f.runtime.size() == 0);
  CHECK(f.table->size() == 0);
  CHECK_FALSE(f.board->Get(kId).has_value());
  CHECK_FALSE(f.journal.Get(kId).has_value());
  CHECK(f.delivery.tasks.empty());
}

TEST_CASE("an end with another status carries the supervisor's last words") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.Exit(kId, 125, /*is_oom_killed=*/true);
  f.executor->RunReady();
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  CHECK(f.Status().is_oom_killed());
  CHECK(f.Status().termination_message().find("125") != std::string::npos);
  CHECK(f.Status().termination_message().find("last words") != std::string::npos);
}

TEST_CASE("each failing step ends the task, undone, with its reason") {
  const struct {
    Op op;
    const char* stage;
    absl::Status error;
    v1::TaskTerminationReason reason;
  } rows[] = {
      {Op::kPrepareImage,
       "pull image",
       absl::NotFoundError("no such image"),
       v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR},
      {Op::kCreate,
       "create container",
       absl::InternalError("engine is confused"),
       v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR},
      {Op::kStart,
       "start container",
       absl::InternalError("unable to apply caps"),
       v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR},
      {Op::kStart,
       "start container",
       base::Error(absl::StatusCode::kInternal, kPortsBindingFailed, "port 4001 is in use"),
       v1::TASK_TERMINATION_REASON_PORTS_BINDING_FAILED},
  };
  for (const auto& row : rows) {
    INFO(row.stage);
    TableFixture f;
    f.runtime.FailNext(row.op, row.error);
    v1::TaskSpec spec = MakeSpec();
    spec.set_gpu_count(2);
    REQUIRE(f.Submit(spec).ok());
    CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
    CHECK(f.Status().termination_reason() == row.reason);
    CHECK(f.Status().termination_message().find(row.stage) != std::string::npos);
    CHECK(f.Status().termination_message().find(std::string(row.error.message())) !=
          std::string::npos);
    CHECK(f.runtime.size() == 0);
    CHECK(f.gpus->free_count() == 2);
    CHECK(f.delivery.tasks.empty());
    CHECK(f.Remove().ok());
  }
}

TEST_CASE("W8 terminate works at every step before the start") {
  for (const Op op : {Op::kPrepareImage, Op::kCreate}) {
    INFO(static_cast<int>(op));
    TableFixture f;
    f.TerminateDuring(op);
    REQUIRE(f.Submit().ok());
    CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
    CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_TERMINATED_BY_SERVER);
    CHECK(f.Status().termination_message() == "enough");
    CHECK(f.runtime.size() == 0);
    CHECK(f.runtime.starts(kId) == 0);
  }
}

TEST_CASE("a terminate between start and its answer still ends the task") {
  TableFixture f;
  f.TerminateDuring(Op::kStart);
  REQUIRE(f.Submit().ok());
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.runtime.signals(kId) == std::vector<int>{SIGKILL});
}

TEST_CASE("the grace is kept, then everything is killed, again and again") {
  TableFixture f;
  f.runtime.IgnoreSigterm(true);
  REQUIRE(f.Submit().ok());
  f.Terminate(5s);
  CHECK(f.runtime.signals(kId) == std::vector<int>{SIGTERM});
  const ShimHome home(f.dir.path());
  CHECK(base::ReadFile(home.RunnerDir(kId) + "/stop_grace").value_or("") == "5\n");
  f.executor->AdvanceBy(6900ms);
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
  // The engine is away at that moment.
  f.runtime.FailNext(Op::kSignal, absl::UnavailableError("engine is away"));
  const testing::LogCapture log;
  f.executor->AdvanceBy(200ms);
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
  f.executor->AdvanceBy(6s);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().exit_status() == 128 + SIGKILL);
}

TEST_CASE("a second request can only shorten the grace, and sends no second SIGTERM") {
  TableFixture f;
  f.runtime.IgnoreSigterm(true);
  REQUIRE(f.Submit().ok());
  f.Terminate(100s);
  f.Terminate(200s);
  f.Terminate(10s);
  CHECK(f.runtime.signals(kId) == std::vector<int>{SIGTERM});
  f.executor->AdvanceBy(13s);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  const v1::TaskStatus before = f.Status();
  f.Terminate(0s);
  CHECK(f.Status().revision() == before.revision());
}

TEST_CASE("S4 submit: same content changes nothing, another one is refused") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  const auto revision = f.Status().revision();
  CHECK(f.Submit().ok());
  CHECK(f.Status().revision() == revision);
  v1::TaskSpec other = MakeSpec();
  other.set_image("image:2");
  CHECK(base::Reason(f.Submit(other)) == "INVALID_FIELDS");
  v1::TaskSpec bad = MakeSpec("..");
  CHECK(base::Reason(f.Submit(bad)) == "INVALID_FIELDS");
  CHECK(f.table->size() == 1);
  CHECK(f.runtime.starts(kId) == 1);
}

TEST_CASE("S5 a task that is there is known, another one is not") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  CHECK(f.table->Contains(kId));
  CHECK_FALSE(f.table->Contains(kOther));
}

TEST_CASE("S6 a new task keeps the others untouched") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  REQUIRE(f.Submit(MakeSpec(kOther)).ok());
  CHECK(f.table->ids() == std::set<std::string>{kId, kOther});
  CHECK(f.Status().revision() == before.revision());
}

TEST_CASE("S7 another task under a known id is refused and changes nothing") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  v1::TaskSpec changed = MakeSpec();
  changed.set_image("other:1");
  CHECK_FALSE(f.Submit(changed).ok());
  CHECK(f.Status().revision() == before.revision());
  CHECK(f.runtime.launch(kId)->task.image() == "image:1");
}

TEST_CASE("S8 a legal change replaces what is known of the task") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  f.Terminate(0ms);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().revision() > before.revision());
  CHECK(f.journal.saved_states(kId).back() == v1::TASK_STATE_TERMINATED);
}

TEST_CASE("S9 a change of an unknown task is a not-found error and creates nothing") {
  TableFixture f;
  absl::Status status;
  f.table->Terminate(kId, {}, [&](const auto& result) { status = result.status(); });
  CHECK(base::Reason(status) == "TASK_NOT_FOUND");
  f.table->Snapshot(kId, [&](const auto& result) { status = result.status(); });
  CHECK(base::Reason(status) == "TASK_NOT_FOUND");
  CHECK(f.table->size() == 0);
}

TEST_CASE("S11 removing an unknown task is harmless, a known one goes") {
  TableFixture f;
  CHECK(f.Remove().ok());
  REQUIRE(f.Submit().ok());
  f.Terminate(0ms);
  CHECK(f.Remove().ok());
  CHECK_FALSE(f.table->Contains(kId));
}

TEST_CASE("S14 a task starts with its spec and its container's name") {
  TableFixture f;
  const v1::TaskSpec spec = MakeSpec();
  f.table->Submit(spec, [](const absl::Status&) {});
  f.executor->RunReady();
  record::TaskRecord record;
  f.table->Snapshot(kId, [&](absl::StatusOr<record::TaskRecord> r) { record = *std::move(r); });
  f.executor->RunReady();
  CHECK(IsSameSpec(record.spec(), spec));
  CHECK(f.journal.saved_states(kId).front() == v1::TASK_STATE_PENDING);
  CHECK(record.status().container_name() == ContainerName(spec.name(), spec.task_id()));
}

TEST_CASE("a forced removal kills, removes, and answers when all is gone") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.IgnoreSigterm(true);
  absl::Status removed = absl::UnknownError("no answer");
  f.table->ForceRemove(kId, [&](const absl::Status& status) { removed = status; });
  f.executor->RunReady();
  CHECK(removed.ok());
  CHECK(f.runtime.size() == 0);
  CHECK_FALSE(f.table->Contains(kId));
  CHECK(f.gpus->free_count() == 2);
  f.table->ForceRemove(kId, [&](const absl::Status& status) { removed = status; });
  CHECK(removed.ok());
}

TEST_CASE("a removal that comes before the submit is recorded is refused, and the task lives") {
  TableFixture f;
  f.table->Submit(MakeSpec(), [](const absl::Status&) {});
  absl::Status removed = absl::UnknownError("no answer");
  f.table->Remove(kId, [&](const absl::Status& status) { removed = status; });
  // The board knows nothing of it yet; the table does, and nobody may say that it is gone.
  CHECK(f.board->List().empty());
  CHECK(f.table->Contains(kId));
  f.executor->RunReady();
  CHECK(base::Reason(removed) == "INVALID_STATE");
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
}

TEST_CASE("a forced removal before the submit is recorded leaves nothing") {
  TableFixture f;
  f.table->Submit(MakeSpec(), [](const absl::Status&) {});
  absl::Status removed = absl::UnknownError("no answer");
  f.table->ForceRemove(kId, [&](const absl::Status& status) { removed = status; });
  f.executor->RunReady();
  CHECK(removed.ok());
  CHECK(f.runtime.starts(kId) == 0);
  CHECK(f.table->size() == 0);
  CHECK_FALSE(f.journal.Get(kId).has_value());
}

TEST_CASE("of a task that could not be recorded, removals succeed and an end is unknown") {
  TableFixture f;
  f.journal.FailSaves(1, absl::ResourceExhaustedError("no space left on device"));
  absl::Status submitted;
  absl::Status removed = absl::UnknownError("no answer");
  absl::Status forced = absl::UnknownError("no answer");
  absl::Status terminated;
  f.table->Submit(MakeSpec(), [&](const absl::Status& status) { submitted = status; });
  f.table->Remove(kId, [&](const absl::Status& status) { removed = status; });
  f.table->ForceRemove(kId, [&](const absl::Status& status) { forced = status; });
  f.table->Terminate(kId, {}, [&](const auto& status) { terminated = status.status(); });
  f.executor->RunReady();
  CHECK(submitted.code() == absl::StatusCode::kResourceExhausted);
  CHECK(removed.ok());
  CHECK(forced.ok());
  CHECK(base::Reason(terminated) == "TASK_NOT_FOUND");
  CHECK(f.table->size() == 0);
  CHECK(f.board->List().empty());
}

TEST_CASE("a journal that cannot be written refuses the task") {
  TableFixture f;
  f.journal.FailSaves(1, absl::ResourceExhaustedError("no space left on device"));
  CHECK(f.Submit().code() == absl::StatusCode::kResourceExhausted);
  CHECK(f.table->size() == 0);
  CHECK(f.board->List().empty());
  CHECK(f.Submit().ok());
}

TEST_CASE("a full disk in the middle ends the task, and the end is written as soon as it can be") {
  TableFixture f;
  f.runtime.OnCall(Op::kPrepareImage, [&] {
    f.journal.FailSaves(3, absl::ResourceExhaustedError("no space left on device"));
  });
  const testing::LogCapture log;
  REQUIRE(f.Submit().ok());
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status().termination_message().find("no space left") != std::string::npos);
  CHECK(f.runtime.size() == 0);
  f.executor->AdvanceBy(30s);
  CHECK(f.journal.Get(kId)->status().state() == v1::TASK_STATE_TERMINATED);
}

TEST_CASE("W8 accelerators are exclusive and come back") {
  TableFixture f;
  v1::TaskSpec first = MakeSpec();
  first.set_gpu_count(1);
  v1::TaskSpec second = MakeSpec(kOther);
  second.set_gpu_count(2);
  REQUIRE(f.Submit(first).ok());
  CHECK(f.Status().gpu_ids_size() == 1);
  CHECK(f.runtime.launch(kId)->gpu_ids == std::vector<std::string>{"gpu-0"});
  REQUIRE(f.Submit(second).ok());
  CHECK(f.Status(kOther).termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status(kOther).termination_message().find("2 accelerators") != std::string::npos);
  f.Restart();
  REQUIRE(f.table->Restore().ok());
  f.executor->RunReady();
  CHECK(f.gpus->free_count() == 1);
  f.Terminate(0s);
  CHECK(f.gpus->free_count() == 2);
  CHECK(f.Status().gpu_ids_size() == 0);
}

TEST_CASE("restored tasks are told, and hold their accelerators, before anything else happens") {
  TableFixture f;
  v1::TaskSpec spec = MakeSpec();
  spec.set_gpu_count(1);
  REQUIRE(f.Submit(spec).ok());
  REQUIRE(f.Status().state() == v1::TASK_STATE_RUNNING);
  f.Restart();
  REQUIRE(f.table->Restore().ok());
  // No executor has run yet; a session may open now.
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
  CHECK(f.gpus->free_count() == 1);
  f.executor->RunReady();
}

TEST_CASE("a container that is \"created\" after it ran has ended unseen") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.BreakWatches();
  f.runtime.Plant({.task_id = kId, .state = ContainerState::kCreated});
  f.executor->AdvanceBy(15s);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK_FALSE(f.Status().has_exit_status());
}

TEST_CASE("an engine that restarts does not end its tasks") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  const testing::LogCapture log;
  f.runtime.BreakWatches();
  f.executor->RunReady();
  CHECK(f.Status().state() == v1::TASK_STATE_RUNNING);
  f.executor->AdvanceBy(15s);
  f.runtime.FailNext(Op::kInspect, absl::UnavailableError("not yet"));
  f.runtime.Exit(kId, 0);
  f.executor->AdvanceBy(15s);
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_DONE_BY_RUNNER);
}

TEST_CASE("a container that was removed by hand ends its task") {
  TableFixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.Vanish(kId);
  f.executor->RunReady();
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  CHECK_FALSE(f.Status().has_exit_status());
  CHECK(f.delivery.tasks.contains(kId));
}

TEST_CASE("remove: only ended tasks, unknown ones are gone already, failures are tried again") {
  TableFixture f;
  CHECK(f.Remove().ok());
  REQUIRE(f.Submit().ok());
  const absl::Status refused = f.Remove();
  CHECK(refused.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Reason(refused) == "INVALID_STATE");
  f.Terminate(0s);
  const testing::LogCapture log;
  f.runtime.FailNext(Op::kRemove, absl::UnavailableError("engine is away"));
  absl::Status removed = absl::UnknownError("no answer");
  f.table->Remove(kId, [&](const absl::Status& status) { removed = status; });
  f.executor->RunReady();
  CHECK(removed.code() == absl::StatusCode::kUnknown);
  f.executor->AdvanceBy(5s);
  CHECK(removed.ok());
  CHECK(f.table->size() == 0);
}

TEST_CASE("a restart goes on from every state") {
  using enum ContainerState;
  const struct {
    const char* name;
    v1::TaskState state;
    std::optional<ContainerState> container;
    v1::TaskState after;
    int starts;
  } rows[] = {
      {"pending", v1::TASK_STATE_PENDING, {}, v1::TASK_STATE_RUNNING, 1},
      {"preparing", v1::TASK_STATE_PREPARING, {}, v1::TASK_STATE_RUNNING, 1},
      {"pulling", v1::TASK_STATE_PULLING, {}, v1::TASK_STATE_RUNNING, 1},
      {"before create", v1::TASK_STATE_CREATING, {}, v1::TASK_STATE_RUNNING, 1},
      {"before start", v1::TASK_STATE_CREATING, kCreated, v1::TASK_STATE_RUNNING, 1},
      {"after start", v1::TASK_STATE_CREATING, kRunning, v1::TASK_STATE_RUNNING, 0},
      {"running", v1::TASK_STATE_RUNNING, kRunning, v1::TASK_STATE_RUNNING, 0},
      {"ended", v1::TASK_STATE_RUNNING, kExited, v1::TASK_STATE_TERMINATED, 0},
      {"gone", v1::TASK_STATE_RUNNING, {}, v1::TASK_STATE_TERMINATED, 0},
  };
  for (const auto& row : rows) {
    for (const bool is_stopping : {false, true}) {
      INFO(row.name << (is_stopping ? ", stopping" : ""));
      TableFixture f;
      record::TaskRecord record;
      *record.mutable_spec() = MakeSpec();
      record.mutable_status()->set_task_id(kId);
      record.mutable_status()->set_state(row.state);
      record.mutable_status()->set_revision(7);
      if (is_stopping) record.mutable_stop()->set_message("enough");
      REQUIRE(f.journal.Save(record).ok());
      if (row.container) {
        f.runtime.Plant({.id = "c", .name = "n", .task_id = kId, .state = *row.container});
      }
      REQUIRE(f.table->Restore().ok());
      f.executor->RunReady();
      CHECK(f.Status().state() == (is_stopping ? v1::TASK_STATE_TERMINATED : row.after));
      CHECK(f.Status().revision() > 7);
      CHECK(f.runtime.starts(kId) == (is_stopping ? 0 : row.starts));
    }
  }
}

TEST_CASE("containers without a task are removed at the start") {
  TableFixture f;
  f.runtime.Plant({.id = "c", .task_id = kOther, .state = ContainerState::kRunning});
  const testing::LogCapture log;
  REQUIRE(f.table->Restore().ok());
  f.executor->RunReady();
  CHECK(f.runtime.size() == 0);
  CHECK(log.Contains("without a task"));
}

TEST_CASE("W11 progress of a pull is told, but not more often than allowed") {
  TableFixture f;
  int told = 0;
  struct Listener final : StatusListener {
    explicit Listener(int* count) : count_(count) {}
    void OnStatus(const v1::TaskStatus& status) override {
      if (status.has_pull_progress()) ++*count_;
    }
    void OnRemoved(const std::string&) override {}
    void OnSynced() override {}
    int* count_;
  } listener(&told);
  f.board->Attach(&listener);
  REQUIRE(f.Submit().ok());
  CHECK(told == 1);
  CHECK_FALSE(f.Status().has_pull_progress());
  f.board->Detach(&listener);
}

}  // namespace
}  // namespace dstack::shim
