#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"
#include "tests/component/runner_agent/ssh_login.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

TEST_CASE("ssh into a running job") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  // Debian's sshd wants it; on a host it comes with the service.
  mkdir("/run/sshd", 0755);
  Fixture f({"--ssh-dir", SshBundle()});
  const testing::TempDir keys;
  const std::string key = MakeSshKey(keys.path());
  REQUIRE(
      base::WriteFileAtomic(f.runner.Path("authorized_keys"), base::ReadFile(key + ".pub").value())
          .ok());
  v1::JobSpec job = MakeShellJob("cat");
  (*job.mutable_env())["TOKEN"] = "with \"quotes\" and $dollars # and \\ and '";
  f.Run(job);
  const v1::JobStatus status = f.client->AwaitSshPort();
  CHECK(status.ssh_host_key().starts_with("ssh-ed25519 "));
  const std::string known_hosts =
      TrustHostKey(keys.path(), status.ssh_port(), status.ssh_host_key());

  const process::RunResult result = SshInto(SshOptions(key, status.ssh_port(), known_hosts),
                                            {"printenv", "TOKEN", "DSTACK_RUN_NAME"});
  INFO(result.stderr_text);
  CHECK(result.exit.code == 0);
  CHECK(result.stdout_text == "with \"quotes\" and $dollars # and \\ and '\nrun\n");

  // Another key does not get in.
  const testing::TempDir foreign;
  const std::string other_key = MakeSshKey(foreign.path());
  CHECK(SshInto(SshOptions(other_key, status.ssh_port(), known_hosts), {"true"}).exit.code == 255);

  f.client->StopJob(0);
  f.Finish();
  f.Leave();
}

TEST_CASE("without a bundle the job runs just the same") {
  Fixture f({"--ssh-dir", "/nonexistent"});
  f.Run(MakeShellJob("echo fine"));
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "fine\n");
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("no ssh access to this job") != std::string::npos);
}

}  // namespace
}  // namespace dstack::runner
