// What tasks use of the host: mounts, disks and keys.
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/file.h"
#include "libs/testing/log_capture.h"
#include "services/shim/pipeline/table_fixture.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

TEST_CASE("mounts: directories are made, optional ones that cannot be are left out") {
  TableFixture f;
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
  TableFixture f;
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
  TableFixture f;
  f.host.FailNextPrepare(absl::FailedPreconditionError("volume data: it holds something"));
  REQUIRE(f.Submit(MakeHostSpec()).ok());
  CHECK(f.Status().state() == v1::TASK_STATE_TERMINATED);
  CHECK(f.Status().termination_reason() == v1::TASK_TERMINATION_REASON_EXECUTOR_ERROR);
  CHECK(f.Status().termination_message().find("volume data") != std::string::npos);
  CHECK(f.host.holders().empty());
  CHECK(f.gpus->free_count() == 2);
}

TEST_CASE("the port that a runner takes by itself is opened once it is known") {
  TableFixture f;
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
  TableFixture f;
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
  TableFixture f;
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
