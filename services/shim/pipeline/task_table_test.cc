// Tasks on a fake runtime and a fake journal; one manual executor plays all threads.
#include "services/shim/pipeline/task_table.h"

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>
#include <unistd.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/log_capture.h"
#include "libs/testing/manual_executor.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/fake_container_runtime.h"
#include "services/shim/adapters/fake_host_resources.h"
#include "services/shim/adapters/fake_task_journal.h"
#include "services/shim/domain/container_name.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using Op = FakeContainerRuntime::Op;

constexpr char kId[] = "66a886db-86db-4cf9-8c06-8984ad15dde2";
constexpr char kOther[] = "41728e34-bf7e-41da-bf0e-0f46764b1752";

class FakeDelivery final : public LogDelivery {
 public:
  void Start(const std::string& task_id, const std::string&) override { tasks.insert(task_id); }
  void Stop(const std::string& task_id) override { tasks.erase(task_id); }
  std::set<std::string> tasks;
};

v1::TaskSpec MakeSpec(const std::string& task_id = kId) {
  v1::TaskSpec spec;
  spec.set_task_id(task_id);
  spec.set_name("run-0-0");
  spec.set_image("image:1");
  spec.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  spec.set_runner_token("0123456789abcdef0123456789abcdef");
  return spec;
}

// A shim without a wire. Restart() gives a new table on the same journal, runtime and files.
struct Fixture {
  Fixture() { Restart(); }

  void Restart() {
    // Tasks of the old process that were not run are lost with it.
    table.reset();
    executor = std::make_shared<testing::ManualExecutor>(clock);
    gpus = std::make_unique<GpuLedger>(std::vector<std::string>{"gpu-0", "gpu-1"});
    board = std::make_unique<StatusBoard>();
    delivery.tasks.clear();
    table = std::make_unique<TaskTable>(PipelineContext{.runtime = runtime,
                                                        .journal = journal,
                                                        .gpus = *gpus,
                                                        .board = *board,
                                                        .delivery = delivery,
                                                        .host = host,
                                                        .directory = directory,
                                                        .abilities = abilities,
                                                        .steps = *executor,
                                                        .pulls = *executor,
                                                        .clock = clock,
                                                        .random = random},
                                        [this] { return executor; });
  }

  absl::Status Submit(const v1::TaskSpec& spec = MakeSpec()) {
    absl::Status result = absl::UnknownError("no answer");
    table->Submit(spec, [&](const absl::Status& status) { result = status; });
    executor->RunReady();
    return result;
  }
  void Terminate(std::chrono::milliseconds grace, const std::string& task_id = kId) {
    table->Terminate(task_id, {.grace = grace, .message = "enough"}, [](const auto&) {});
    executor->RunReady();
  }
  absl::Status Remove(const std::string& task_id = kId) {
    absl::Status result = absl::UnknownError("no answer");
    table->Remove(task_id, [&](const absl::Status& status) { result = status; });
    executor->RunReady();
    return result;
  }
  // Posts a terminate command from within a step of the runtime.
  void TerminateDuring(Op op) {
    runtime.OnCall(op,
                   [this] { table->Terminate(kId, {.message = "enough"}, [](const auto&) {}); });
  }
  v1::TaskStatus Status(const std::string& task_id = kId) const {
    return board->Get(task_id).value_or(v1::TaskStatus());
  }

  testing::TempDir dir;
  testing::ManualClock clock;
  base::SeededRandom random{1};
  FakeContainerRuntime runtime;
  FakeTaskJournal journal;
  FakeDelivery delivery;
  FakeHostResources host;
  HostAbilities abilities{.has_images = true, .has_privileged = true, .has_mounts = true};
  TaskDirectory directory{ShimHome(dir.path()), ::geteuid(), ::getegid()};
  std::shared_ptr<testing::ManualExecutor> executor;
  std::unique_ptr<GpuLedger> gpus;
  std::unique_ptr<StatusBoard> board;
  std::unique_ptr<TaskTable> table;
};

TEST_CASE("a task passes all states, each of them recorded before it acts") {
  Fixture f;
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
  Fixture f;
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
    Fixture f;
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
    Fixture f;
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
  Fixture f;
  f.TerminateDuring(Op::kStart);
  REQUIRE(f.Submit().ok());
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.runtime.signals(kId) == std::vector<int>{SIGKILL});
}

TEST_CASE("the grace is kept, then everything is killed, again and again") {
  Fixture f;
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
  Fixture f;
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
  Fixture f;
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
  Fixture f;
  REQUIRE(f.Submit().ok());
  CHECK(f.table->Contains(kId));
  CHECK_FALSE(f.table->Contains(kOther));
}

TEST_CASE("S6 a new task keeps the others untouched") {
  Fixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  REQUIRE(f.Submit(MakeSpec(kOther)).ok());
  CHECK(f.table->ids() == std::set<std::string>{kId, kOther});
  CHECK(f.Status().revision() == before.revision());
}

TEST_CASE("S7 another task under a known id is refused and changes nothing") {
  Fixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  v1::TaskSpec changed = MakeSpec();
  changed.set_image("other:1");
  CHECK_FALSE(f.Submit(changed).ok());
  CHECK(f.Status().revision() == before.revision());
  CHECK(f.runtime.launch(kId)->task.image() == "image:1");
}

TEST_CASE("S8 a legal change replaces what is known of the task") {
  Fixture f;
  REQUIRE(f.Submit().ok());
  const v1::TaskStatus before = f.Status();
  f.Terminate(0ms);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().revision() > before.revision());
  CHECK(f.journal.saved_states(kId).back() == v1::TASK_STATE_TERMINATED);
}

TEST_CASE("S9 a change of an unknown task is a not-found error and creates nothing") {
  Fixture f;
  absl::Status status;
  f.table->Terminate(kId, {}, [&](const auto& result) { status = result.status(); });
  CHECK(base::Reason(status) == "TASK_NOT_FOUND");
  f.table->Snapshot(kId, [&](const auto& result) { status = result.status(); });
  CHECK(base::Reason(status) == "TASK_NOT_FOUND");
  CHECK(f.table->size() == 0);
}

TEST_CASE("S11 removing an unknown task is harmless, a known one goes") {
  Fixture f;
  CHECK(f.Remove().ok());
  REQUIRE(f.Submit().ok());
  f.Terminate(0ms);
  CHECK(f.Remove().ok());
  CHECK_FALSE(f.table->Contains(kId));
}

TEST_CASE("S14 a task starts with its spec and its container's name") {
  Fixture f;
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
  Fixture f;
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
  Fixture f;
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
  Fixture f;
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
  Fixture f;
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
  Fixture f;
  f.journal.FailSaves(1, absl::ResourceExhaustedError("no space left on device"));
  CHECK(f.Submit().code() == absl::StatusCode::kResourceExhausted);
  CHECK(f.table->size() == 0);
  CHECK(f.board->List().empty());
  CHECK(f.Submit().ok());
}

TEST_CASE("a full disk in the middle ends the task, and the end is written as soon as it can be") {
  Fixture f;
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
  Fixture f;
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
  Fixture f;
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
  Fixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.BreakWatches();
  f.runtime.Plant({.task_id = kId, .state = ContainerState::kCreated});
  f.executor->AdvanceBy(15s);
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK_FALSE(f.Status().has_exit_status());
}

TEST_CASE("an engine that restarts does not end its tasks") {
  Fixture f;
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
  Fixture f;
  REQUIRE(f.Submit().ok());
  f.runtime.Vanish(kId);
  f.executor->RunReady();
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  CHECK_FALSE(f.Status().has_exit_status());
  CHECK(f.delivery.tasks.contains(kId));
}

TEST_CASE("remove: only ended tasks, unknown ones are gone already, failures are tried again") {
  Fixture f;
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
      Fixture f;
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
  Fixture f;
  f.runtime.Plant({.id = "c", .task_id = kOther, .state = ContainerState::kRunning});
  const testing::LogCapture log;
  REQUIRE(f.table->Restore().ok());
  f.executor->RunReady();
  CHECK(f.runtime.size() == 0);
  CHECK(log.Contains("without a task"));
}

TEST_CASE("W11 progress of a pull is told, but not more often than allowed") {
  Fixture f;
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

TEST_CASE("mounts: directories are made, optional ones that cannot be are left out") {
  Fixture f;
  v1::TaskSpec spec = MakeSpec();
  const std::string made = f.dir.Path("a/b");
  spec.add_mounts()->set_host_path(made);
  spec.mutable_mounts(0)->set_container_path("/data");
  auto* optional = spec.add_mounts();
  optional->set_host_path("/proc/none/x");
  optional->set_container_path("/x");
  optional->set_is_optional(true);
  REQUIRE(f.Submit(spec).ok());
  INFO(f.Status().ShortDebugString());
  CHECK(base::Exists(made));
  REQUIRE(f.runtime.launch(kId).has_value());
  CHECK(f.runtime.launch(kId)->task.mounts_size() == 1);

  v1::TaskSpec strict = MakeSpec(kOther);
  strict.add_mounts()->set_host_path("/proc/none/x");
  strict.mutable_mounts(0)->set_container_path("/x");
  REQUIRE(f.Submit(strict).ok());
  CHECK(f.Status(kOther).termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status(kOther).termination_message().find("/proc/none/x") != std::string::npos);
}

v1::TaskSpec MakeHostSpec() {
  v1::TaskSpec spec = MakeSpec();
  auto* volume = spec.add_volumes();
  volume->set_name("data");
  volume->set_device_name("/dev/sdz");
  volume->set_container_path("/data");
  spec.set_host_ssh_user("ubuntu");
  spec.add_host_ssh_keys(
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvMKTHGgFKBnfzmgLDqlJy7VwiocGfGMXYQeo4IJ7Xe u@h");
  return spec;
}

TEST_CASE("disks and keys are held while a task lives, and given back before it has ended") {
  Fixture f;
  REQUIRE(f.Submit(MakeHostSpec()).ok());
  REQUIRE(f.Status().state() == v1::TASK_STATE_RUNNING);
  CHECK(f.host.holders() == std::set<std::string>{kId});
  REQUIRE(f.runtime.launch(kId)->task.mounts_size() == 1);
  CHECK(f.runtime.launch(kId)->task.mounts(0).host_path() == "/fake/data");

  f.Restart();
  REQUIRE(f.table->Restore().ok());
  f.executor->RunReady();
  CHECK(f.host.holders() == std::set<std::string>{kId});

  f.host.FailNextRelease(absl::UnavailableError("busy"));
  f.runtime.Exit(kId, 0);
  f.executor->RunReady();
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.host.holders().empty());
  f.Restart();
  REQUIRE(f.table->Restore().ok());
  CHECK(f.host.holders().empty());
}

TEST_CASE("a disk that cannot be mounted ends the task before anything is pulled") {
  Fixture f;
  f.host.FailNextPrepare(absl::FailedPreconditionError("volume data: it holds something"));
  REQUIRE(f.Submit(MakeHostSpec()).ok());
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status().termination_message().find("volume data") != std::string::npos);
  CHECK(f.host.holders().empty());
  CHECK(f.gpus->free_count() == 2);
}

TEST_CASE("the port that a runner takes by itself is opened once it is known") {
  Fixture f;
  v1::TaskSpec spec = MakeHostSpec();
  spec.set_network_mode(v1::NETWORK_MODE_HOST);
  REQUIRE(f.Submit(spec).ok());
  CHECK(f.host.ports(kId).empty());
  runner::v1::JobStatus status;
  status.set_ssh_port(41234);
  const std::string path = ShimHome(f.dir.path()).RunnerDir(kId) + "/status.pb";
  REQUIRE(base::WriteFileAtomic(path, status.SerializeAsString()).ok());
  f.clock.Advance(std::chrono::seconds(1));
  f.executor->RunReady();
  CHECK(f.host.ports(kId) == std::vector<std::uint16_t>{41234});
}

TEST_CASE("keys that cannot be installed are tried again for as long as the task runs") {
  Fixture f;
  f.host.FailOpens(30, absl::ResourceExhaustedError("no space left on device"));
  const testing::LogCapture log;
  v1::TaskSpec spec = MakeHostSpec();
  spec.set_network_mode(v1::NETWORK_MODE_HOST);
  runner::v1::JobStatus status;
  status.set_ssh_port(41234);
  const std::string path = ShimHome(f.dir.path()).RunnerDir(kId) + "/status.pb";
  REQUIRE(base::MakeDirs(ShimHome(f.dir.path()).RunnerDir(kId)).ok());
  REQUIRE(base::WriteFileAtomic(path, status.SerializeAsString()).ok());
  REQUIRE(f.Submit(spec).ok());
  CHECK(f.host.ports(kId).empty());
  // Pauses grow to ten seconds.
  f.executor->AdvanceBy(300s);
  CHECK(f.host.ports(kId) == std::vector<std::uint16_t>{41234});
}

TEST_CASE("a mount that a symbolic link leads to the shim's home is refused") {
  Fixture f;
  f.abilities.protected_paths = {f.dir.path()};
  testing::TempDir elsewhere;
  REQUIRE(::symlink(f.dir.path().c_str(), elsewhere.Path("link").c_str()) == 0);
  v1::TaskSpec spec = MakeSpec();
  auto* mount = spec.add_mounts();
  mount->set_host_path(elsewhere.Path("link/tasks"));
  mount->set_container_path("/x");
  REQUIRE(f.Submit(spec).ok());
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status().termination_message().find("agent") != std::string::npos);
}

}  // namespace
}  // namespace dstack::shim
