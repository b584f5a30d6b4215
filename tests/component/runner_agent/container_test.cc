#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/root_container.h"

// The runner as first process of a container whose root holds nothing but busybox.
namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

struct TinyImage : RootContainer {
  TinyImage() { AddBusybox({"sh", "sleep", "echo", "id", "cat", "setsid"}); }
};

TEST_CASE("container: a job in a tiny image") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  TinyImage container;
  container.Start();
  const v1::JobStatus status = container.RunToEnd(
      MakeJob({"sh", "-c", "id -u; echo $HOME; cd /; echo $DSTACK_MPI_HOSTFILE; exit 3"}));
  CHECK(status.exit_status() == 3);
  CHECK(container.output() == "0\n/\n/dstack/mpi/hostfile\n");
  CHECK(container.Leave().code == 3);
}

TEST_CASE("container: an image without anything") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.Start();
  const v1::JobStatus status =
      container.RunToEnd(MakeJob({"/usr/local/bin/dstack-runner", "--version"}));
  CHECK(status.exit_status() == 0);
  CHECK(container.output() == "0.1.0\n");
}

TEST_CASE("container: a read-only root") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  TinyImage container;
  container.Start({.is_read_only = true});
  const v1::JobStatus status = container.RunToEnd(MakeJob({"sh", "-c", "echo works"}));
  CHECK(status.exit_status() == 0);
  CHECK(container.output() == "works\n");
  CHECK(container.runner_log().find("no MPI hostfile") != std::string::npos);
}

TEST_CASE("container: without terminals the output goes through a pipe, whole and up to a stop") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  TinyImage container;
  container.Start({.has_terminals = false});
  container.Run(MakeJob({"sh",
                         "-c",
                         "trap 'echo bye; exit 3' TERM; test -t 1 || echo pipe; echo error >&2; "
                         "cat; while :; do sleep 0.01; done"}));
  container.client().AwaitText(LOG_SOURCE_JOB, "error\n");
  container.client().StopJob(20);
  CHECK(container.client().AwaitState(v1::JOB_STATE_FINISHED).exit_status() == 3);
  CHECK(container.Leave().code == 3);
  // The shell itself may say that its child was terminated.
  CHECK_THAT(container.output(), Catch::StartsWith("pipe\nerror\n") && Catch::EndsWith("bye\n"));
  CHECK(container.runner_log().find("no terminal could be opened") != std::string::npos);
}

TEST_CASE("container: as first process it ends everything in the namespace") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  TinyImage container;
  container.Start();
  container.Run(MakeJob(
      {"sh", "-c", "trap '' TERM; (trap '' TERM; sleep 1000 &) ; echo ready; sleep 1000; true"}));
  container.client().AwaitText(LOG_SOURCE_JOB, "ready");
  container.client().StopJob(0.2);
  const v1::JobStatus status = container.client().AwaitState(v1::JOB_STATE_FINISHED);
  CHECK(status.signal() == SIGKILL);
  CHECK(container.Leave().code == 128 + SIGKILL);
}

TEST_CASE("container: a chain of processes that never stops forking is ended") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  TinyImage container;
  container.Write("/chain.sh", "trap '' TERM HUP INT\nsetsid sh \"$0\" &\n");
  container.Start();
  container.Run(MakeJob({"sh", "-c", "sh /chain.sh; sh /chain.sh; echo ready; sleep 1000; true"}));
  container.client().AwaitText(LOG_SOURCE_JOB, "ready");
  container.client().StopJob(0.1);
  CHECK(container.client().AwaitState(v1::JOB_STATE_FINISHED).finish_reason() ==
        v1::FINISH_REASON_STOPPED);
  container.Leave();
}

TEST_CASE("container: use of accelerators is what the vendor's tool of the image tells") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  if (base::Exists("/sys/fs/cgroup/memory/release_agent") &&
      !base::Exists("/sys/fs/cgroup/memory/cgroup.procs")) {
    return testing::Skip("kernel: no cgroup");
  }
  TinyImage container;
  container.Write("/usr/bin/nvidia-smi",
                  "#!/bin/sh\ntest \"$2\" = --format=csv,noheader,nounits && echo '1024, 35'\n",
                  0755);
  // A cgroup of its own, in the place where an engine shows it.
  const std::string group = "/sys/fs/cgroup/memory/dstack-test-gpu-" + std::to_string(getpid());
  container.Start({.before = "mkdir -p " + group + " && echo $$ >" + group +
                             "/cgroup.procs || true; mkdir -p \"$root/sys\"; mount --rbind /sys "
                             "\"$root/sys\""});
  container.Run(MakeJob({"sh", "-c", "echo ready; cat"}));
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
  container.StopAndLeave();
  testing::Await(10s, [&] { return rmdir(group.c_str()) == 0 || errno != EBUSY; });
  if (!metrics) testing::Skip("kernel: no cgroup that can be read");
}

}  // namespace
}  // namespace dstack::runner
