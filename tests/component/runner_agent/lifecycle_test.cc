#include <csignal>

#include <catch2/catch.hpp>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

TEST_CASE("a command that succeeds") {
  Fixture f;
  f.Run(MakeShellJob("echo hello; echo problem >&2"));
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXITED);
  CHECK(status.has_exit_status());
  CHECK(status.exit_status() == 0);
  CHECK_FALSE(status.has_signal());
  CHECK(status.pid() > 0);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "hello\nproblem\n");
  CHECK(f.Leave().code == 0);
  CHECK(base::Exists(f.runner.Path("end_acked")));
  CHECK(base::ReadFile(f.runner.Path("supervisor_exit")).value() == "0\n");
}

TEST_CASE("a command that fails") {
  Fixture f;
  f.Run(MakeShellJob("exit 3"));
  CHECK(f.Finish().exit_status() == 3);
  CHECK(f.Leave().code == 3);
}

TEST_CASE("a command that a signal ends") {
  Fixture f;
  f.Run(MakeShellJob("kill -SEGV $$"));
  const v1::JobStatus status = f.Finish();
  CHECK_FALSE(status.has_exit_status());
  CHECK(status.signal() == SIGSEGV);
  CHECK(f.Leave().code == 128 + SIGSEGV);
}

TEST_CASE("a command that does not exist") {
  Fixture f;
  f.Run(MakeJob({"no-such-program", "x"}));
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(status.exit_status() == 127);
  CHECK(status.message() == "command not found: no-such-program");
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("command not found: no-such-program") !=
        std::string::npos);
  CHECK(f.Leave().code == 127);
}

TEST_CASE("a command that may not be executed") {
  Fixture f;
  f.Run(MakeJob({"/etc/passwd"}));
  CHECK(f.Finish().exit_status() == 126);
}

TEST_CASE("a script without an interpreter line is run by the shell") {
  Fixture f;
  REQUIRE(base::WriteFileAtomic(f.runner.Path("script"), "echo \"from $1\"\n", 0755).ok());
  f.Run(MakeJob({f.runner.Path("script"), "script"}));
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "from script\n");
}

TEST_CASE("without a command the image's own is run") {
  Fixture f;
  REQUIRE(base::WriteFileAtomic(f.runner.Path("image_config.json"),
                                R"({"entrypoint":["/bin/echo","image"],"cmd":["says"]})")
              .ok());
  f.Run(MakeJob({}));
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "image says\n");
}

TEST_CASE("without a command and without an image nothing is run") {
  Fixture f;
  f.Run(MakeJob({}));
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(status.message().find("entrypoint") != std::string::npos);
  CHECK(f.Leave().code == 125);
}

TEST_CASE("the command has a terminal, a session of its own and a sane environment") {
  Fixture f;
  f.runner.env = {"FROM_IMAGE=1", "OVERRIDDEN=image", "BASH_FUNC_x%%=() { :; }"};
  v1::JobSpec job = MakeShellJob(
      "test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; "
      "echo $FROM_IMAGE $OVERRIDDEN $DSTACK_RUN_NAME $DSTACK_NODES_NUM; env | grep -c BASH_FUNC; "
      "pwd; echo $DSTACK_WORKING_DIR; cat $DSTACK_MPI_HOSTFILE; ulimit -n >/dev/null && umask; "
      "ls /proc/self/fd | tr '\\n' ' '");
  (*job.mutable_env())["OVERRIDDEN"] = "job";
  job.set_working_dir(f.runner.Path("made/for/me"));
  job.mutable_cluster()->add_node_addresses("10.0.0.1");
  job.mutable_cluster()->add_gpus_per_node(2);
  f.Run(job);
  const v1::JobStatus status = f.Finish();
  const std::string dir = f.runner.Path("made/for/me");
  CHECK(f.store.text[LOG_SOURCE_JOB] == "terminal\n24 80\n1 job run 1\n0\n" + dir + "\n" + dir +
                                            "\n10.0.0.1 slots=2\n0022\n0 1 2 3 ");
  CHECK(status.working_dir() == dir);
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("working directory " + dir + " created") !=
        std::string::npos);
}

TEST_CASE("another user") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  Fixture f;
  v1::JobSpec job = MakeShellJob("id -u; id -g; id -G; echo $HOME; tty >/dev/null && echo tty");
  job.mutable_user()->set_username("nobody");
  job.set_working_dir("/tmp");
  f.Run(job);
  CHECK(f.Finish().username() == "nobody");
  CHECK(f.store.text[LOG_SOURCE_JOB] == "65534\n65534\n65534\n/\ntty\n");
}

TEST_CASE("the command may pin as much memory as it likes, where the kernel lets us say so") {
  const bool may = geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1;
  Fixture f;
  f.Run(MakeShellJob("ulimit -l"));
  // Otherwise nothing changes and nothing fails.
  CHECK(f.Finish().exit_status() == 0);
  CHECK((f.store.text[LOG_SOURCE_JOB] == "unlimited\n" || !may));
}

TEST_CASE("a user that does not exist") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("true");
  job.mutable_user()->set_username("nobody-like-this");
  f.Run(job);
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(status.message().find("nobody-like-this") != std::string::npos);
}

TEST_CASE("a working directory that is a file") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("true");
  job.set_working_dir("/etc/passwd/x");
  f.Run(job);
  CHECK(f.Finish().message().find("/etc/passwd") != std::string::npos);
}

TEST_CASE("the same job again changes nothing, another one is refused") {
  Fixture f;
  f.Run(MakeShellJob("echo once; cat"));
  f.client->AwaitText(LOG_SOURCE_JOB, "once");
  f.client->Submit(MakeShellJob("echo once; cat"));
  CHECK(f.client->AwaitFilesNeeded().empty());
  f.client->StartJob();
  f.client->Submit(MakeShellJob("echo other"));
  CHECK(f.client->AwaitRefused().reason() == "INVALID_STATE");
  f.client->StopJob(0);
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "once\n");
}

TEST_CASE("a job that is wrong is refused with all its fields") {
  Fixture f;
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  v1::JobSpec job = MakeJob({""});
  job.set_working_dir("relative");
  job.mutable_identity()->clear_job_id();
  f.client->Submit(job);
  const v1::JobRefused refused = f.client->AwaitRefused();
  CHECK(refused.reason() == "INVALID_FIELDS");
  for (const char* field : {"identity.job_id", "command[0]", "working_dir"}) {
    CHECK(refused.message().find(field) != std::string::npos);
  }
  f.client->StartJob();
  CHECK(f.client->AwaitRefused().message() == "there is no job to start");
}

TEST_CASE("output is what was written, byte for byte") {
  Fixture f;
  f.Run(MakeShellJob("printf 'a\\r\\nb\\tc\\001\\377'; head -c 300000 /dev/zero | tr '\\0' z"));
  f.Finish();
  CHECK((f.store.text[LOG_SOURCE_JOB] ==
         std::string("a\r\nb\tc\001\377") + std::string(300000, 'z')));
}

TEST_CASE("the runner leaves without a server after a stop, all is in the spool") {
  Fixture f;
  f.Run(MakeShellJob("echo begin; trap 'echo bye; exit 7' TERM; while :; do sleep 0.01; done"));
  f.client->AwaitText(LOG_SOURCE_JOB, "begin");
  f.client.reset();
  f.runner.Terminate();
  CHECK(f.runner.Wait().code == 7);
  f.runner.StartDeliver();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  CHECK(f.Finish().finish_reason() == v1::FINISH_REASON_STOPPED);
  // The shell itself may say that its child was terminated.
  CHECK(f.store.text[LOG_SOURCE_JOB].starts_with("begin\n"));
  CHECK(f.store.text[LOG_SOURCE_JOB].ends_with("bye\n"));
  CHECK(f.Leave().code == 0);
}

}  // namespace
}  // namespace dstack::runner
