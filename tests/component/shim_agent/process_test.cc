// Tasks as processes: no engine is needed.
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/alive.h"
#include "libs/process/reaper.h"
#include "libs/process/subprocess.h"
#include "libs/rpc/status_mapping.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/process_identity.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/shim_agent/shim_client.h"
#include "tests/component/shim_agent/shim_process.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  Fixture() : shim({.runtime = "process"}) {}
  ~Fixture() {
    for (const std::string& task_id : tasks) {
      client->Terminate(task_id, 0);
      client->AwaitState(task_id, v1::TASK_STATE_TERMINATED);
    }
    client.reset();
  }

  void Start(const std::string& failpoints = "") {
    shim.Start(failpoints);
    client.emplace(shim.Target());
  }
  void Restart() {
    client.reset();
    shim.Kill();
    Start();
  }
  v1::TaskSpec Submit() {
    v1::TaskSpec task = MakeTask("");
    task.set_network_mode(v1::NETWORK_MODE_HOST);
    client->Submit(task);
    tasks.push_back(task.task_id());
    return task;
  }
  // Runs a job in a running task and waits for a word of it.
  void RunJob(const v1::TaskSpec& task, const std::string& script, const std::string& word) {
    const auto running = client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    runner::ServerStore store;
    runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
    session.Submit(runner::MakeShellJob(script));
    session.AwaitFilesNeeded();
    session.StartJob();
    session.AwaitText(common::v1::LOG_SOURCE_JOB, word);
  }
  std::vector<pid_t> Processes(const v1::TaskSpec& task) const {
    return ProcessesWithEnv("DSTACK_SHIM_TASK=" + shim.shim_id() + "/" + task.task_id());
  }

  ShimProcess shim;
  std::optional<ShimClient> client;
  std::vector<std::string> tasks;
};

TEST_CASE("a process task runs and ends with the job's status") {
  Fixture fixture;
  fixture.Start();
  const auto facts = fixture.client->AwaitHello().facts();
  CHECK(facts.container_runtime() == v1::CONTAINER_RUNTIME_PROCESS);
  CHECK(facts.resources().cpus() > 0);
  CHECK(facts.resources().memory_bytes() > 0);
  const v1::TaskSpec task = fixture.Submit();
  const auto running = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  runner::ServerStore store;
  runner::SessionClient session("unix:" + running.runner_socket(), task.runner_token(), store);
  session.Submit(runner::MakeShellJob("env; exit 4"));
  session.AwaitFilesNeeded();
  session.StartJob();
  CHECK(session.AwaitState(runner::v1::JOB_STATE_FINISHED).exit_status() == 4);
  session.AwaitEndOfLogs();
  // What the shim itself was given is not the job's.
  CHECK(session.Text(common::v1::LOG_SOURCE_JOB).find("DSTACK_FAILPOINTS") == std::string::npos);
  session.AckEnd();
  session.AwaitClosed();
  CHECK(fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED).exit_status() == 4);
  fixture.client->Remove(task.task_id());
  fixture.client->AwaitRemoved(task.task_id());
  fixture.tasks.clear();
  CHECK(fixture.Processes(task).empty());
}

TEST_CASE("a process survives the shim; its end is known all the same") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.RunJob(task, "echo begun; sleep 600", "begun");
  const auto before = fixture.client->Status(task.task_id());
  fixture.Restart();
  const auto after = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  CHECK(after.container_id() == before.container_id());
  fixture.client->Terminate(task.task_id(), 10);
  const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.exit_status() == 128 + SIGTERM);
}

TEST_CASE("nothing of a job is left after it was killed") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.RunJob(task,
                 "trap '' TERM; (trap '' TERM HUP; setsid sh -c 'sleep 600 & sleep 600' &) ; "
                 "echo ready; sleep 600",
                 "ready");
  CHECK(fixture.Processes(task).size() > 2);
  fixture.client->Terminate(task.task_id(), 0);
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  fixture.client->Remove(task.task_id());
  fixture.client->AwaitRemoved(task.task_id());
  fixture.tasks.clear();
  CHECK(fixture.Processes(task).empty());
}

TEST_CASE("processes of a task whose record is lost are found and ended") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.RunJob(task, "(setsid sleep 600 &); echo begun; sleep 600", "begun");
  fixture.tasks.clear();
  fixture.client.reset();
  fixture.shim.Kill();
  const std::string dir = fixture.shim.home() + "/tasks/" + task.task_id();
  for (const char* name : {"/task.pb", "/task.pb.prev"}) {
    REQUIRE(base::WriteFileAtomic(dir + name, "garbage", 0600).ok());
  }
  fixture.Start();
  fixture.client->AwaitSynced();
  CHECK(fixture.client->tasks_before_sync() == 0);
  testing::Await(20s, [&] { return fixture.Processes(task).empty(); });
  CHECK(base::Exists(fixture.shim.home() + "/damaged"));
}

TEST_CASE("after a reboot a pid means nothing: the task ended unseen") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.RunJob(task, "echo begun; sleep 600", "begun");
  fixture.client.reset();
  fixture.shim.Kill();
  const std::string path = fixture.shim.home() + "/tasks/" + task.task_id() + "/process.json";
  std::string text = base::ReadFile(path).value_or("");
  const std::vector<pid_t> processes = fixture.Processes(task);
  for (const pid_t pid : processes) ::kill(pid, SIGKILL);
  // What the kernel gives to another process later.
  const std::size_t boot_id = text.find("\"boot_id\":\"") + 11;
  text[boot_id] = text[boot_id] == '0' ? '1' : '0';
  REQUIRE(base::WriteFileAtomic(path, text, 0600).ok());
  fixture.Start();
  const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  CHECK_FALSE(ended.has_exit_status());
  CHECK(ended.termination_message().find("not known") != std::string::npos);
}

TEST_CASE("a start that was cut off is neither lost nor done twice") {
  for (const char* point : {"shim.process.before_spawn", "shim.process.after_spawn"}) {
    INFO(point);
    Fixture fixture;
    fixture.Start(std::string(point) + "=crash");
    const v1::TaskSpec task = fixture.Submit();
    fixture.shim.AwaitCrash();
    fixture.Restart();
    fixture.RunJob(task, "echo once", "once");
  }
}

TEST_CASE("a supervisor whose start was cut off ends as any other") {
  for (const double grace : {0.0, 10.0}) {
    INFO(grace);
    Fixture fixture;
    fixture.Start("shim.process.after_spawn=crash");
    const v1::TaskSpec task = fixture.Submit();
    fixture.shim.AwaitCrash();
    fixture.Restart();
    const auto running = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
    CHECK_FALSE(running.container_id().empty());
    fixture.client->Terminate(task.task_id(), grace);
    const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
    CHECK(ended.container_id() == running.container_id());
  }
}

TEST_CASE("what needs an engine is refused with all reasons") {
  Fixture fixture;
  fixture.Start();
  v1::TaskSpec task = MakeTask("busybox:1");
  task.set_is_privileged(true);
  fixture.client->Submit(task);
  const auto ended = fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  CHECK(ended.termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(ended.termination_message().find("image") != std::string::npos);
  CHECK(ended.termination_message().find("is_privileged") != std::string::npos);
}

// --- sessions

TEST_CASE("a higher epoch takes the host over, a lower one is refused, also after a restart") {
  Fixture fixture;
  fixture.Start();
  ShimClient second(fixture.shim.Target(), {.epoch = 5});
  second.AwaitSynced();
  const grpc::Status lost = fixture.client->AwaitClosed();
  CHECK(lost.error_code() == grpc::StatusCode::ABORTED);
  CHECK(base::Reason(rpc::FromGrpc(lost)) == "LEASE_LOST");

  const auto refuse = [&](ShimClient::Settings settings) {
    ShimClient client(fixture.shim.Target(), std::move(settings));
    const absl::Status status = rpc::FromGrpc(client.AwaitClosed());
    return base::Reason(status);
  };
  CHECK(refuse({.epoch = 4}) == "STALE_EPOCH");
  CHECK(refuse({.epoch = 9, .server_id = "another"}) == "ACCESS_DENIED");
  CHECK(refuse({.epoch = 9, .protocol_version = 0}) == "VERSION_MISMATCH");
  fixture.client.reset();
  fixture.shim.Kill();
  fixture.shim.Start();
  CHECK(refuse({.epoch = 4}) == "STALE_EPOCH");
  fixture.client.emplace(fixture.shim.Target(), ShimClient::Settings{.epoch = 5});
  fixture.client->AwaitSynced();
}

TEST_CASE("a replaced session learns why, also when it has not read for a while") {
  Fixture fixture;
  fixture.shim.Start();
  const auto stub = v1::ShimService::NewStub(
      grpc::CreateChannel(fixture.shim.Target(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto slow = stub->Session(&context);
  v1::SessionRequest request;
  request.mutable_hello()->set_server_id(ShimClient::Settings().server_id);
  request.mutable_hello()->set_replica_id("slow");
  request.mutable_hello()->set_epoch(1);
  request.mutable_hello()->set_protocol_version(1);
  REQUIRE(slow->Write(request));
  // Refusals, more than a connection takes while nobody reads.
  for (int i = 0; i < 1000; ++i) {
    request.mutable_remove_task()->set_task_id(std::string(10000, 'x'));
    REQUIRE(slow->Write(request));
  }
  v1::TaskSpec last = MakeTask("");
  last.set_network_mode(v1::NETWORK_MODE_HOST);
  *request.mutable_submit_task()->mutable_spec() = last;
  REQUIRE(slow->Write(request));
  testing::Await(20s, [&] {
    grpc::ClientContext call;
    v1::GetTaskRequest get;
    get.set_task_id(last.task_id());
    v1::GetTaskResponse task;
    return stub->GetTask(&call, get, &task).ok();
  });
  fixture.client.emplace(fixture.shim.Target(), ShimClient::Settings{.epoch = 2});
  fixture.tasks.push_back(last.task_id());
  fixture.client->AwaitHello();
  v1::SessionResponse response;
  while (slow->Read(&response)) {
  }
  const grpc::Status status = slow->Finish();
  CHECK(base::Reason(rpc::FromGrpc(status)) == "LEASE_LOST");
}

TEST_CASE("unknown commands and tasks are answered, the session goes on") {
  Fixture fixture;
  fixture.Start();
  fixture.client->Write({});
  CHECK(fixture.client->AwaitFailure().reason() == "INVALID_FIELDS");
  fixture.client->Terminate("66a886db-86db-4cf9-8c06-8984ad15dde2", 0);
  CHECK(fixture.client->AwaitFailure().reason() == "TASK_NOT_FOUND");
  const v1::TaskSpec task = fixture.Submit();
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  fixture.client->Remove(task.task_id());
  CHECK(fixture.client->AwaitFailure().reason() == "INVALID_STATE");
  fixture.client->Terminate(task.task_id(), -1);
  CHECK(fixture.client->AwaitFailure().reason() == "INVALID_FIELDS");
}

TEST_CASE("the debug calls show and end tasks") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  auto& stub = fixture.client->stub();
  {
    grpc::ClientContext context;
    v1::GetHostResponse host;
    REQUIRE(stub.GetHost(&context, {}, &host).ok());
    CHECK(host.has_session());
    CHECK(host.epoch() == 1);
    CHECK(host.shim_id() == fixture.shim.shim_id());
  }
  {
    grpc::ClientContext context;
    v1::ListTasksResponse list;
    REQUIRE(stub.ListTasks(&context, {}, &list).ok());
    CHECK(list.tasks_size() == 1);
  }
  v1::RemoveTaskRequest remove;
  remove.set_task_id(task.task_id());
  v1::RemoveTaskResponse removed;
  {
    grpc::ClientContext context;
    const auto status = rpc::FromGrpc(stub.RemoveTask(&context, remove, &removed));
    CHECK(base::Reason(status) == "INVALID_STATE");
  }
  {
    grpc::ClientContext context;
    v1::TerminateTaskRequest terminate;
    terminate.set_task_id(task.task_id());
    v1::TerminateTaskResponse response;
    CHECK(stub.TerminateTask(&context, terminate, &response).ok());
  }
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_TERMINATED);
  {
    grpc::ClientContext context;
    CHECK(stub.RemoveTask(&context, remove, &removed).ok());
  }
  fixture.tasks.clear();
  {
    grpc::ClientContext context;
    v1::GetTaskRequest get;
    get.set_task_id(task.task_id());
    v1::GetTaskResponse response;
    const auto status = rpc::FromGrpc(stub.GetTask(&context, get, &response));
    CHECK(base::Reason(status) == "TASK_NOT_FOUND");
  }
}

TEST_CASE("secrets lie in files of the owner alone") {
  Fixture fixture;
  fixture.Start();
  const v1::TaskSpec task = fixture.Submit();
  fixture.client->AwaitState(task.task_id(), v1::TASK_STATE_RUNNING);
  const std::string dir = fixture.shim.home() + "/tasks/" + task.task_id();
  for (const std::string& path : {dir + "/task.pb",
                                  dir + "/runner/token",
                                  dir + "/process.json",
                                  fixture.shim.home() + "/shim.sock"}) {
    INFO(path);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
  const auto process = base::ReadFile(dir + "/process.json");
  CHECK(process.value_or("").find(task.runner_token()) == std::string::npos);
}

TEST_CASE("a second shim on one home is refused") {
  Fixture fixture;
  fixture.Start();
  const auto result = process::Run(fixture.shim.Command(), 20s);
  REQUIRE(result.ok());
  CHECK(result->exit.code == 69);
  CHECK(result->stderr_text.find("another shim") != std::string::npos);
}

bool HasOpen(pid_t pid, const std::string& path) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    if (std::filesystem::read_symlink(entry.path(), error) == path) return true;
  }
  return false;
}

TEST_CASE("the lock of a shim that was killed may be held a moment longer by a child of it") {
  Fixture fixture;
  fixture.Start();
  fixture.client.reset();
  fixture.shim.Stop();
  const std::string path = fixture.shim.home() + "/lock";
  base::UniqueFd child(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::flock(child.get(), LOCK_EX | LOCK_NB) == 0);
  auto next = process::Subprocess::Start(fixture.shim.Command());
  REQUIRE(next.ok());
  testing::Await(20s, [&] { return HasOpen(next->pid(), path); });
  child.reset();
  const auto channel =
      grpc::CreateChannel(fixture.shim.Target(), grpc::InsecureChannelCredentials());
  CHECK(channel->WaitForConnected(std::chrono::system_clock::now() + 20s));
  CHECK_FALSE(next->Poll());
}

TEST_CASE("the supervising parent starts the shim again and stops it") {
  ShimProcess shim({.runtime = "process"});
  std::vector<std::string> command = shim.Command();
  command.emplace_back("--supervise");
  auto parent = process::Subprocess::Start(command);
  REQUIRE(parent.ok());
  const auto connect = [&] {
    testing::Await(20s, [&] {
      const auto channel = grpc::CreateChannel(shim.Target(), grpc::InsecureChannelCredentials());
      return channel->WaitForConnected(std::chrono::system_clock::now() + 100ms);
    });
  };
  connect();
  const auto children = process::ChildrenOf(parent->pid());
  REQUIRE(children.size() == 1);
  const auto first = IdentifyProcess(children[0]);
  ::kill(children[0], SIGKILL);
  testing::Await(20s, [&] {
    const auto now = process::ChildrenOf(parent->pid());
    return now.size() == 1 && IdentifyProcess(now[0]) != first;
  });
  connect();
  const auto second = process::ChildrenOf(parent->pid());
  REQUIRE(parent->Kill(SIGTERM).ok());
  const auto exit = parent->WaitUntil(base::DeadlineIn(20s));
  REQUIRE(exit.ok());
  CHECK(exit->ok());
  REQUIRE(second.size() == 1);
  CHECK_FALSE(process::IsAlive(second[0]));
}

}  // namespace
}  // namespace dstack::shim
