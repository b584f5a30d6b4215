// Anything in any order: submit, start, terminate, remove, kill -9 of the shim, containers removed
// by hand, restarts of the engine. After each storm the shim must agree with the engine, and at the
// end nothing may be left.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "services/shim/adapters/process_identity.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/docker_fixture.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 120s;
constexpr std::size_t kMostTasks = 6;
constexpr int kStepsOfStorm = 12;
// An engine that was killed may stumble over what it left; an init system starts it again.
constexpr int kEngineStarts = 3;

unsigned Seed() {
  const char* given = std::getenv("DSTACK_TEST_SEED");
  const unsigned seed =
      given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
  std::cout << "DSTACK_TEST_SEED=" << seed << std::endl;
  return seed;
}

std::size_t EntriesOf(const std::string& directory) {
  std::error_code error;
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(directory, error), {}));
}

// What the server wants of a task.
struct Wish {
  v1::TaskSpec spec;
  bool has_job = false;
  bool ends = false;
  bool goes = false;
  // Reached once; never left.
  bool has_ended = false;
};

class Storm {
 public:
  // Without an engine: tasks as processes.
  Storm(testing::MiniDocker* engine, unsigned seed)
      : engine_(engine),
        random_(seed),
        shim_({.runtime = engine != nullptr ? "docker" : "process",
               .docker_host = engine != nullptr ? engine->host() : ""}) {
    shim_.Start();
    Connect();
    base_descriptors_ = Descriptors();
  }
  ~Storm() {
    client_.reset();
    shim_.Kill();
    for (const std::string& id : Containers()) {
      static_cast<void>(docker::RemoveContainer(engine_->client(), id, {}).ok());
    }
  }

  void Rage() {
    for (int i = 0; i < kStepsOfStorm; ++i) Step();
    Quiet();
  }

  // Everything is ended and removed; nothing may be left.
  void Finish() {
    for (auto& [id, wish] : wishes_) wish.ends = wish.goes = true;
    Quiet();
    CHECK(wishes_.empty());
    CHECK(Containers().empty());
    for (const char* name : {"tasks", "s", "trash", "damaged"}) {
      INFO(name);
      CHECK(EntriesOf(shim_.home() + "/" + name) == 0);
    }
    CHECK(ProcessesOfTasks().empty());
    // Descriptors of calls that are just ending go by themselves.
    testing::Await(kPatience, [&] { return Descriptors() <= base_descriptors_ + 4; });
  }

  std::size_t submitted() const { return submitted_; }

 private:
  std::size_t Pick(std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
  }
  Wish* PickTask() {
    if (wishes_.empty()) return nullptr;
    auto it = wishes_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(Pick(wishes_.size())));
    return &it->second;
  }

  void Step() {
    switch (Pick(engine_ != nullptr ? 17 : 15)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Submit();
      case 4:
      case 5:
      case 6:
        return StartJob();
      case 7:
      case 8:
      case 9:
        if (Wish* wish = PickTask()) {
          wish->ends = true;
          client_->Terminate(wish->spec.task_id(), Pick(2) == 0 ? 0 : 3);
        }
        return;
      case 10:
      case 11:
        if (Wish* wish = PickTask()) {
          wish->ends = wish->goes = true;
          client_->Terminate(wish->spec.task_id(), 0);
        }
        return;
      case 12:
      case 13:
        return KillShim();
      case 14:
        // Politely, as an upgrade does.
        client_.reset();
        CHECK(shim_.Stop().ok());
        shim_.Start();
        return Connect();
      case 15:
        return RemoveContainer();
      default:
        if (Pick(3) == 0) RestartEngine();
    }
  }

  void Submit() {
    if (wishes_.size() >= kMostTasks) return;
    v1::TaskSpec task = MakeTask(engine_ != nullptr ? testing::kBusyboxImage : "");
    if (engine_ == nullptr) task.set_network_mode(v1::NETWORK_MODE_HOST);
    tokens_.push_back(task.runner_token());
    client_->Submit(task);
    wishes_[task.task_id()].spec = task;
    ids_.push_back(task.task_id());
    ++submitted_;
  }

  // A job that counts its starts; offered again and again.
  void StartJob() {
    Wish* wish = PickTask();
    if (wish == nullptr) return;
    const v1::TaskStatus status = client_->Status(wish->spec.task_id());
    if (status.state() != v1::TASK_STATE_RUNNING || wish->ends) return;
    const auto channel =
        grpc::CreateChannel("unix:" + status.runner_socket(), grpc::InsecureChannelCredentials());
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + 2s)) return;
    runner::ServerStore store;
    runner::SessionClient session(
        "unix:" + status.runner_socket(), wish->spec.runner_token(), store);
    session.Submit(runner::MakeShellJob(engine_ != nullptr
                                            ? "echo x >>/dstack/runner/starts; exec sleep 600"
                                            : "echo x >>\"$PWD/starts\"; exec sleep 600"));
    session.StartJob();
    wish->has_job = true;
  }

  void KillShim() {
    client_.reset();
    shim_.Kill();
    shim_.Start();
    Connect();
  }

  void RemoveContainer() {
    const auto ids = Containers();
    if (ids.empty()) return;
    static_cast<void>(docker::RemoveContainer(engine_->client(), ids[Pick(ids.size())], {}).ok());
  }

  void RestartEngine() {
    REQUIRE(engine_->StopEngine(Pick(2) == 0 ? SIGTERM : SIGKILL).ok());
    absl::Status started = engine_->StartEngine();
    for (int i = 1; !started.ok() && i < kEngineStarts; ++i) {
      std::cout << "the engine did not start: " << started.ToString() << std::endl;
      started = engine_->StartEngine();
    }
    INFO(started);
    REQUIRE(started.ok());
  }

  // As the server does with each new session: what the shim does not know is sent again.
  void Connect() {
    client_.emplace(shim_.Target(), ShimClient::Settings{.epoch = ++epoch_});
    client_->AwaitSynced();
    for (auto it = wishes_.begin(); it != wishes_.end();) {
      const v1::TaskStatus status = client_->Status(it->first);
      const bool is_known = status.state() != v1::TASK_STATE_UNSPECIFIED;
      if (!is_known && (it->second.goes || it->second.has_ended)) {
        it = wishes_.erase(it);
        continue;
      }
      if (!is_known) client_->Submit(it->second.spec);
      // I2: an end is never taken back.
      if (it->second.has_ended) CHECK(status.state() == v1::TASK_STATE_TERMINATED);
      ++it;
    }
  }

  void SendWishes() {
    for (auto& [id, wish] : wishes_) {
      const v1::TaskState state = client_->Status(id).state();
      if (state == v1::TASK_STATE_TERMINATED) {
        wish.has_ended = true;
        if (wish.goes) client_->Remove(id);
      } else if (wish.ends) {
        client_->Terminate(id, 0);
      }
    }
  }

  bool IsSettled() {
    std::erase_if(wishes_, [&](const auto& entry) {
      return entry.second.goes && client_->IsRemoved(entry.first);
    });
    return std::all_of(wishes_.begin(), wishes_.end(), [&](const auto& entry) {
      const v1::TaskState state = client_->Status(entry.first).state();
      if (entry.second.goes) return false;
      if (state == v1::TASK_STATE_TERMINATED) return true;
      return state == v1::TASK_STATE_RUNNING && !entry.second.ends;
    });
  }

  void Quiet() {
    int round = 0;
    testing::Await(
        kPatience,
        [&] {
          // Not with each look: a command in flight needs its time.
          if (round++ % 100 == 0) SendWishes();
          return IsSettled();
        },
        [&] {
          std::string text;
          for (const auto& [id, wish] : wishes_) {
            text += fmt::format(
                "ends {} goes {}: {}\n", wish.ends, wish.goes, client_->Status(id).DebugString());
          }
          return text;
        });
    CheckContainers();
    CheckStarts();
    CheckLedger();
    CheckSecrets();
  }

  // I4: what runs is what the shim says; a container without a task goes at once.
  void CheckContainers() {
    std::set<std::string> expected;
    std::set<std::string> running;
    testing::Await(
        kPatience,
        [&] {
          // Each time: that an engine's restart has ended a task is noticed a little later.
          expected.clear();
          for (const auto& [id, wish] : wishes_) {
            const v1::TaskStatus status = client_->Status(id);
            if (status.state() == v1::TASK_STATE_RUNNING) expected.insert(status.container_id());
          }
          running.clear();
          for (const std::string& id : Containers()) {
            const auto info = docker::InspectContainer(engine_->client(), id, {});
            if (info.ok() && info->state == "running") running.insert(info->id);
          }
          return engine_ == nullptr || running == expected;
        },
        [&] { return fmt::format("{} run, {} expected", running.size(), expected.size()); });
    CHECK(Containers().size() <= wishes_.size());
  }

  // I1
  void CheckStarts() {
    for (const auto& [id, wish] : wishes_) {
      const std::string dir = shim_.home() + "/tasks/" + id;
      const std::string path = dir + (engine_ != nullptr ? "/runner/starts" : "/work/starts");
      INFO(id);
      CHECK(base::ReadFile(path).value_or("").size() <= 2);
    }
  }

  // I5
  void CheckLedger() {
    grpc::ClientContext context;
    v1::DumpLedgerResponse ledger;
    REQUIRE(client_->stub().DumpLedger(&context, {}, &ledger).ok());
    for (const v1::LedgerEntry& entry : ledger.entries()) {
      if (entry.task_id().empty()) continue;
      CHECK(client_->Status(entry.task_id()).state() != v1::TASK_STATE_TERMINATED);
      CHECK(wishes_.contains(entry.task_id()));
    }
  }

  // I10
  void CheckSecrets() {
    std::string seen;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      seen += base::ReadFile(entry.path().string() + "/cmdline").value_or("");
    }
    for (const std::string& id : Containers()) {
      const auto response = engine_->client().Call({.path = "/containers/" + id + "/json"}, {});
      if (response.ok()) seen += response->body;
    }
    for (const std::string& token : tokens_) CHECK(seen.find(token) == std::string::npos);
  }

  std::vector<std::string> Containers() const {
    if (engine_ == nullptr) return {};
    const auto ids =
        docker::ListContainers(engine_->client(), {{kShimIdLabel, shim_.shim_id()}}, {});
    return ids.ok() ? *ids : std::vector<std::string>();
  }
  std::vector<pid_t> ProcessesOfTasks() const {
    std::vector<pid_t> all;
    for (const std::string& id : ids_) {
      const auto some = ProcessesWithEnv("DSTACK_SHIM_TASK=" + shim_.shim_id() + "/" + id);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  std::size_t Descriptors() const { return EntriesOf(fmt::format("/proc/{}/fd", shim_.pid())); }

  testing::MiniDocker* const engine_;
  std::mt19937 random_;
  ShimProcess shim_;
  std::optional<ShimClient> client_;
  std::map<std::string, Wish> wishes_;
  std::vector<std::string> tokens_;
  std::vector<std::string> ids_;
  std::uint64_t epoch_ = 0;
  std::size_t submitted_ = 0;
  std::size_t base_descriptors_ = 0;
};

// At least one storm, and as many as fit; the end always.
void RageFor(testing::MiniDocker* engine, std::chrono::seconds time) {
  const unsigned seed = Seed();
  INFO("seed " << seed);
  Storm storm(engine, seed);
  const auto deadline = std::chrono::steady_clock::now() + time;
  do {
    storm.Rage();
  } while (std::chrono::steady_clock::now() < deadline);
  storm.Finish();
  std::cout << storm.submitted() << " tasks" << std::endl;
}

std::unique_ptr<testing::MiniDocker> PrivateEngine() {
  auto engine = testing::MiniDocker::StartPrivate();
  if (!engine.ok()) {
    testing::Skip(std::string(engine.status().message()));
    return nullptr;
  }
  REQUIRE((*engine)->EnsureBusybox().ok());
  return *std::move(engine);
}

TEST_CASE("tasks as processes survive anything in any order") { RageFor(nullptr, 5s); }

TEST_CASE("containers survive anything in any order, dockerd included") {
  const auto engine = PrivateEngine();
  if (engine) RageFor(engine.get(), 8s);
}

TEST_CASE("hundreds of processes survive anything in any order", "[.][nightly]") {
  RageFor(nullptr, 300s);
}

TEST_CASE("hundreds of containers survive anything in any order", "[.][nightly]") {
  const auto engine = PrivateEngine();
  if (engine) RageFor(engine.get(), 900s);
}

}  // namespace
}  // namespace dstack::shim
