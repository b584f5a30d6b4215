#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include <unistd.h>

#include "libs/testing/manual_executor.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/fake_container_runtime.h"
#include "services/shim/adapters/fake_host_resources.h"
#include "services/shim/adapters/fake_task_journal.h"
#include "services/shim/pipeline/task_table.h"

namespace dstack::shim {

inline constexpr char kId[] = "66a886db-86db-4cf9-8c06-8984ad15dde2";
inline constexpr char kOther[] = "41728e34-bf7e-41da-bf0e-0f46764b1752";

class FakeDelivery final : public LogDelivery {
 public:
  void Start(const std::string& task_id, const std::string&) override { tasks.insert(task_id); }
  void Stop(const std::string& task_id) override { tasks.erase(task_id); }
  std::set<std::string> tasks;
};

inline v1::TaskSpec MakeSpec(const std::string& task_id = kId) {
  v1::TaskSpec spec;
  spec.set_task_id(task_id);
  spec.set_name("run-0-0");
  spec.set_image("image:1");
  spec.set_network_mode(v1::NETWORK_MODE_BRIDGE);
  spec.set_runner_token("0123456789abcdef0123456789abcdef");
  return spec;
}

// A shim without a wire. Restart() gives a new table on the same journal, runtime and files.
struct TableFixture {
  TableFixture() { Restart(); }

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
  void TerminateDuring(FakeContainerRuntime::Op op) {
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

}  // namespace dstack::shim
