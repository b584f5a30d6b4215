#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/runner_process.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/runner_agent/ssh_login.h"

// The runner as first process of a pid namespace in a root that holds nothing but busybox: what a
// container engine makes of a tiny image, without the engine.
namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

constexpr char kBusybox[] = "/bin/busybox";
constexpr char kEnter[] =
    "mount -t proc proc \"$1/proc\" && mount -t devpts -o newinstance,ptmxmode=0666 devpts "
    "\"$1/dev/pts\" && eval \"$2\" && "
    "exec chroot \"$1\" /usr/local/bin/dstack-runner supervise --task-dir /dstack/runner "
    "--ssh-dir /opt/dstack/ssh";

class Container {
 public:
  explicit Container(bool has_shell) {
    for (const char* dir : {"proc", "dev/pts", "dstack/runner", "usr/local/bin", "bin"}) {
      REQUIRE(base::MakeDirs(root() + "/" + dir).ok());
    }
    REQUIRE(symlink("pts/ptmx", (root() + "/dev/ptmx").c_str()) == 0);
    std::filesystem::copy_file(testing::StaticBinary("dstack-runner"),
                               root() + "/usr/local/bin/dstack-runner");
    if (has_shell) {
      std::filesystem::copy_file(kBusybox, root() + "/bin/busybox");
      for (const char* name : {"sh", "sleep", "echo", "id", "ps", "true", "cat"}) {
        REQUIRE(symlink("busybox", (root() + "/bin/" + name).c_str()) == 0);
      }
    }
    REQUIRE(base::WriteFileAtomic(task_dir() + "/token", token_, 0600).ok());
  }

  void MountBundle() {
    REQUIRE(base::MakeDirs(root() + "/opt/dstack").ok());
    std::filesystem::copy(
        SshBundle(), root() + "/opt/dstack/ssh", std::filesystem::copy_options::recursive);
  }

  // `before` runs inside the new mount namespace.
  void Start(const std::string& before = "true") {
    auto started = process::Subprocess::Start({"unshare",
                                               "--pid",
                                               "--fork",
                                               "--kill-child",
                                               "--mount",
                                               "sh",
                                               "-c",
                                               kEnter,
                                               "sh",
                                               root(),
                                               before});
    INFO(started.status());
    REQUIRE(started.ok());
    process_.emplace(*std::move(started));
    testing::Await(20s, [this] { return base::Exists(task_dir() + "/runner.sock"); });
    client_.emplace("unix:" + task_dir() + "/runner.sock", token_, store_);
  }

  v1::JobStatus Run(const v1::JobSpec& job) {
    client_->Submit(job);
    CHECK(client_->AwaitFilesNeeded().empty());
    client_->StartJob();
    const v1::JobStatus status = client_->AwaitState(v1::JOB_STATE_FINISHED);
    client_->AwaitEndOfLogs();
    return status;
  }
  process::Exit Leave() {
    client_->AckEnd();
    client_->AwaitClosed();
    return process_->WaitUntil(base::DeadlineIn(20s)).value();
  }

  SessionClient& client() { return *client_; }
  const std::string& output() { return store_.text[LOG_SOURCE_JOB]; }
  const std::string& runner_log() { return store_.text[LOG_SOURCE_RUNNER]; }
  const std::string& root() const { return temp_.path(); }
  std::string task_dir() const { return root() + "/dstack/runner"; }

 private:
  testing::TempDir temp_;
  const std::string token_ = std::string(40, 'k');
  ServerStore store_;
  std::optional<process::Subprocess> process_;
  std::optional<SessionClient> client_;
};

bool CanMakeContainers() {
  const auto tried = process::Run({"unshare", "--pid", "--fork", "--mount", "true"}, 20s);
  return geteuid() == 0 && tried.ok() && tried->exit.ok();
}

TEST_CASE("container: a job in a tiny image") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/true);
  container.Start();
  const v1::JobStatus status = container.Run(
      MakeJob({"sh", "-c", "id -u; echo $HOME; cd /; echo $DSTACK_MPI_HOSTFILE; exit 3"}));
  CHECK(status.exit_status() == 3);
  CHECK(container.output() == "0\n/\n/dstack/mpi/hostfile\n");
  CHECK(container.Leave().code == 3);
}

TEST_CASE("container: an image without anything") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/false);
  container.Start();
  const v1::JobStatus status =
      container.Run(MakeJob({"/usr/local/bin/dstack-runner", "--version"}));
  CHECK(status.exit_status() == 0);
  CHECK(container.output() == "0.1.0\n");
}

TEST_CASE("container: a read-only root") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/true);
  container.Start(
      "mount --bind \"$1\" \"$1\" && mount --bind \"$1/dstack/runner\" \"$1/dstack/runner\" && "
      "mount -t proc proc \"$1/proc\" && mount -t devpts -o newinstance,ptmxmode=0666 devpts "
      "\"$1/dev/pts\" && mount -o remount,bind,ro \"$1\"");
  const v1::JobStatus status = container.Run(MakeJob({"sh", "-c", "echo works"}));
  CHECK(status.exit_status() == 0);
  CHECK(container.output() == "works\n");
  CHECK(container.runner_log().find("no MPI hostfile") != std::string::npos);
}

TEST_CASE("container: as first process it ends everything in the namespace") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/true);
  container.Start();
  v1::JobSpec job = MakeJob(
      {"sh", "-c", "trap '' TERM; (trap '' TERM; sleep 1000 &) ; echo ready; sleep 1000; true"});
  container.client().Submit(job);
  container.client().AwaitFilesNeeded();
  container.client().StartJob();
  container.client().AwaitText(LOG_SOURCE_JOB, "ready");
  container.client().StopJob(0.2);
  const v1::JobStatus status = container.client().AwaitState(v1::JOB_STATE_FINISHED);
  CHECK(status.signal() == SIGKILL);
  container.client().AwaitEndOfLogs();
  CHECK(container.Leave().code == 128 + SIGKILL);
}

TEST_CASE("container: a chain of processes that never stops forking is ended") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/true);
  REQUIRE(symlink("busybox", (container.root() + "/bin/setsid").c_str()) == 0);
  REQUIRE(base::WriteFileAtomic(container.root() + "/chain.sh",
                                "trap '' TERM HUP INT\nsetsid sh \"$0\" &\n")
              .ok());
  container.Start();
  container.client().Submit(
      MakeJob({"sh", "-c", "sh /chain.sh; sh /chain.sh; echo ready; sleep 1000; true"}));
  container.client().StartJob();
  container.client().AwaitText(LOG_SOURCE_JOB, "ready");
  container.client().StopJob(0.1);
  CHECK(container.client().AwaitState(v1::JOB_STATE_FINISHED).finish_reason() ==
        v1::FINISH_REASON_STOPPED);
  container.client().AwaitEndOfLogs();
  container.Leave();
}

TEST_CASE("container: use of accelerators is what the vendor's tool of the image tells") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  if (base::Exists("/sys/fs/cgroup/memory/release_agent") &&
      !base::Exists("/sys/fs/cgroup/memory/cgroup.procs")) {
    return testing::Skip("kernel: no cgroup");
  }
  Container container(/*has_shell=*/true);
  REQUIRE(base::MakeDirs(container.root() + "/usr/bin").ok());
  const std::string tool = container.root() + "/usr/bin/nvidia-smi";
  REQUIRE(base::WriteFileAtomic(
              tool, "#!/bin/sh\ntest \"$2\" = --format=csv,noheader,nounits && echo '1024, 35'\n")
              .ok());
  REQUIRE(chmod(tool.c_str(), 0755) == 0);
  // A cgroup of its own, in the place where an engine shows it.
  const std::string group = "/sys/fs/cgroup/memory/dstack-test-gpu-" + std::to_string(getpid());
  container.Start("mkdir -p " + group + " && echo $$ >" + group +
                  "/cgroup.procs; mkdir -p \"$1/sys\" && mount --rbind /sys \"$1/sys\"; "
                  "mknod -m 666 \"$1/dev/null\" c 1 3");
  container.client().Submit(MakeJob({"sh", "-c", "echo ready; cat"}));
  container.client().StartJob();
  container.client().AwaitText(LOG_SOURCE_JOB, "ready");
  const auto start = std::chrono::steady_clock::now();
  testing::Await(10s, [&] {
    return std::chrono::steady_clock::now() - start > 5s ||
           (container.client().metrics() && container.client().metrics()->gpus_size() > 0);
  });
  const auto metrics = container.client().metrics();
  if (metrics) {
    REQUIRE(metrics->gpus_size() == 1);
    CHECK(metrics->gpus(0).memory_used_bytes() == 1024ULL << 20);
    CHECK(metrics->gpus(0).utilization_ratio() == Approx(0.35));
  }
  container.client().StopJob(0);
  container.client().AwaitEndOfLogs();
  container.Leave();
  testing::Await(10s, [&] { return rmdir(group.c_str()) == 0 || errno != EBUSY; });
  if (!metrics) testing::Skip("kernel: no cgroup that can be read");
}

TEST_CASE("container: ssh into an image that has neither users nor a C library") {
  if (!CanMakeContainers()) return testing::Skip("kernel: no namespaces");
  Container container(/*has_shell=*/true);
  container.MountBundle();
  const testing::TempDir keys;
  const std::string key = MakeSshKey(keys.path());
  REQUIRE(base::WriteFileAtomic(container.task_dir() + "/authorized_keys",
                                base::ReadFile(key + ".pub").value())
              .ok());
  container.Start("mknod -m 666 \"$1/dev/null\" c 1 3");
  container.client().Submit(MakeJob({"sh", "-c", "echo ready; cat"}));
  container.client().AwaitFilesNeeded();
  container.client().StartJob();
  const v1::JobStatus status = container.client().AwaitSshPort();
  const process::RunResult result =
      SshInto(SshOptions(key, status.ssh_port()), {"echo $DSTACK_RUN_NAME"});
  INFO(result.stderr_text << container.runner_log());
  CHECK(result.stdout_text == "run\n");
  container.client().StopJob(0);
  container.client().AwaitEndOfLogs();
  container.Leave();
}

}  // namespace
}  // namespace dstack::runner
