#include "libs/process/subprocess.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"

namespace dstack::process {
namespace {

using namespace std::chrono_literals;
using base::DeadlineIn;

constexpr auto kLong = 20s;

// A program for the cases where something must happen inside the child. The text is constant.
std::vector<std::string> Shell(const std::string& script) { return {"sh", "-c", script}; }

RunResult MustRun(const std::vector<std::string>& argv, Options options = {}) {
  auto result = Run(argv, kLong, std::move(options));
  REQUIRE(result.ok());
  return *result;
}

TEST_CASE("output, status and arguments arrive as they are") {
  const RunResult result = MustRun({"printf", "%s|", "a b", "$HOME", "*", "-x;"});
  CHECK(result.exit.ok());
  CHECK(result.stdout_text == "a b|$HOME|*|-x;|");
  const RunResult failed = MustRun(Shell("echo out; echo err >&2; exit 3"));
  CHECK(failed.exit == Exit{.code = 3, .signal = 0});
  CHECK(failed.stdout_text == "out\n");
  CHECK(failed.stderr_text == "err\n");
  CHECK(failed.exit.ToString() == "exited with status 3");
}

TEST_CASE("a signal is told apart from a status") {
  const RunResult result = MustRun(Shell("kill -9 $$"));
  CHECK(result.exit == Exit{.code = 0, .signal = SIGKILL});
  CHECK(result.exit.ShellStatus() == 137);
  CHECK(result.exit.ToString() == "was killed by signal 9 (Killed)");
}

TEST_CASE("what cannot start is an error with the program's name") {
  CHECK(absl::IsNotFound(Run({"no-such-program-here"}, kLong).status()));
  CHECK(absl::IsNotFound(Run({"/no/such/program"}, kLong).status()));
  CHECK(absl::IsPermissionDenied(Run({"/etc/passwd"}, kLong).status()));
  CHECK(absl::IsInvalidArgument(Run({}, kLong).status()));
  CHECK(absl::IsInvalidArgument(Run({"echo", std::string("a\0b", 3)}, kLong).status()));
  CHECK(absl::IsNotFound(Run({"true"}, kLong, {.cwd = "/no/such/dir"}).status()));
}

TEST_CASE("environment and directory are the given ones") {
  const RunResult result =
      MustRun(Shell("pwd; env"), {.env = std::vector<std::string>{"A=1 2"}, .cwd = "/usr"});
  CHECK_THAT(result.stdout_text, Catch::StartsWith("/usr\n"));
  CHECK_THAT(result.stdout_text, Catch::Contains("A=1 2\n"));
  CHECK_THAT(result.stdout_text, !Catch::Contains("HOME="));
}

TEST_CASE("input is fed while output is read") {
  const std::string large(3 << 20, 'x');
  const RunResult result = MustRun({"cat"}, {.stdin_data = large, .output_limit_bytes = 8U << 20});
  CHECK(result.stdout_text == large);
  CHECK(MustRun({"true"}, {.stdin_data = large}).exit.ok());
  CHECK(MustRun({"cat"}).stdout_text.empty());
}

TEST_CASE("captured output is bounded and the child is not held up") {
  const RunResult result =
      MustRun({"head", "-c", "1000000", "/dev/zero"}, {.output_limit_bytes = 100});
  CHECK(result.exit.ok());
  CHECK(result.stdout_text.size() == 100);
  CHECK(result.output_truncated);
}

TEST_CASE("a timeout ends the whole tree, even one that writes without end") {
  CHECK(absl::IsDeadlineExceeded(Run({"yes"}, 20ms).status()));
  testing::TempDir dir;
  const auto result =
      Run(Shell("sleep 1000 & echo $! > pid; echo why >&2; wait"), 300ms, {.cwd = dir.path()});
  CHECK(absl::IsDeadlineExceeded(result.status()));
  CHECK(base::Message(result.status()) == "sh did not end within 300 ms: why");
  const pid_t grandchild = std::atoi(base::ReadFile(dir.Path("pid"))->c_str());
  REQUIRE(grandchild > 1);
  testing::Await(5s, [&] { return !IsAlive(grandchild); });
}

TEST_CASE("waiting can be called off and tried again") {
  auto child = Subprocess::Start({"sleep", "1000"});
  REQUIRE(child.ok());
  CHECK(absl::IsDeadlineExceeded(child->WaitUntil(DeadlineIn(1ms)).status()));
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  CHECK(absl::IsCancelled(child->WaitUntil(DeadlineIn(kLong), stop.get_token()).status()));
  CHECK_FALSE(child->Poll().has_value());
  REQUIRE(child->Kill(SIGTERM).ok());
  CHECK(child->WaitUntil(DeadlineIn(kLong))->signal == SIGTERM);
  CHECK(child->Poll()->signal == SIGTERM);
  CHECK(child->Kill(SIGTERM).ok());
}

TEST_CASE("a grandchild that keeps the output open does not hold up the end") {
  auto child = Subprocess::Start(Shell("echo hello; sleep 1000 & exit 4"),
                                 {.stdout_mode = Output::kCapture});
  REQUIRE(child.ok());
  CHECK(child->WaitUntil(DeadlineIn(kLong))->code == 4);
  CHECK(child->stdout_text() == "hello\n");
}

TEST_CASE("terminate asks first and then insists") {
  auto polite =
      Subprocess::Start(Shell("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done"),
                        {.stdout_mode = Output::kPipe});
  REQUIRE(polite.ok());
  char byte = 0;
  REQUIRE(base::ReadSome(polite->TakeStdout().get(), &byte, 1).ok());
  CHECK(polite->Terminate(10s)->code == 5);
  auto stubborn = Subprocess::Start(Shell("trap '' TERM; echo up; while :; do sleep 0.01; done"),
                                    {.stdout_mode = Output::kPipe});
  REQUIRE(stubborn.ok());
  const base::UniqueFd out = stubborn->TakeStdout();
  REQUIRE(base::ReadSome(out.get(), &byte, 1).ok());
  CHECK(stubborn->Terminate(20ms)->signal == SIGKILL);
}

TEST_CASE("pipes connect both ways") {
  auto child = Subprocess::Start({"cat"}, {.stdin_pipe = true, .stdout_mode = Output::kPipe});
  REQUIRE(child.ok());
  base::UniqueFd in = child->TakeStdin();
  const base::UniqueFd out = child->TakeStdout();
  REQUIRE(base::WriteAll(in.get(), "ping").ok());
  in.reset();
  char buffer[16];
  CHECK(*base::ReadSome(out.get(), buffer, sizeof(buffer)) == 4);
  CHECK(child->WaitUntil(DeadlineIn(kLong))->ok());
}

TEST_CASE("only named descriptors are inherited") {
  auto pipe = base::MakePipe();
  REQUIRE(pipe.ok());
  // Descriptors of a careless library, without close-on-exec, below and above the given one.
  const base::UniqueFd careless(dup(pipe->read.get()));
  const base::UniqueFd high(fcntl(pipe->read.get(), F_DUPFD, 20));
  const RunResult result =
      MustRun(Shell("ls /proc/self/fd; echo given >&5"), {.inherit_fds = {{pipe->write.get(), 5}}});
  CHECK(result.exit.ok());
  char buffer[16];
  CHECK(*base::ReadSome(pipe->read.get(), buffer, sizeof(buffer)) == 6);
  // 0, 1, 2, 5 and the one that ls itself opened.
  CHECK(std::count(result.stdout_text.begin(), result.stdout_text.end(), '\n') == 5);
}

TEST_CASE("both outputs may go to one descriptor of ours") {
  auto pipe = base::MakePipe();
  REQUIRE(pipe.ok());
  const int fd = pipe->write.get();
  auto child =
      Subprocess::Start(Shell("echo out; echo err >&2"), {.inherit_fds = {{fd, 1}, {fd, 2}}});
  REQUIRE(child.ok());
  REQUIRE(child->WaitUntil(base::DeadlineIn(std::chrono::seconds(10))).ok());
  char buffer[16];
  CHECK(*base::ReadSome(pipe->read.get(), buffer, sizeof(buffer)) == 8);
}

TEST_CASE("inherited descriptors may trade places") {
  auto first = base::MakePipe();
  auto second = base::MakePipe();
  REQUIRE((first.ok() && second.ok()));
  const int a = first->write.get();
  const int b = second->write.get();
  const std::string script = fmt::format("echo to-first >&{}; echo to-second >&{}", b, a);
  REQUIRE(MustRun({"bash", "-c", script}, {.inherit_fds = {{a, b}, {b, a}}}).exit.ok());
  char buffer[32];
  CHECK(*base::ReadSome(first->read.get(), buffer, sizeof(buffer)) == 9);
  CHECK(*base::ReadSome(second->read.get(), buffer, sizeof(buffer)) == 10);
}

TEST_CASE("a child starts with clean signals in a session of its own") {
  const RunResult result = MustRun({"grep", "-E", "SigBlk|SigIgn", "/proc/self/status"});
  CHECK_THAT(result.stdout_text, Catch::Contains("SigBlk:\t0000000000000000"));
  // All but 32 and 33, which glibc keeps for itself and ignores in spawned programs.
  CHECK_THAT(result.stdout_text, Catch::Matches(R"([^]*SigIgn:\t0{7}[01][08]0{7}\n)"));
  auto child = Subprocess::Start({"sleep", "1000"});
  REQUIRE(child.ok());
  testing::AwaitEqual(
      5s, [&] { return getsid(child->pid()); }, child->pid());
}

TEST_CASE("another user can be given") {
  if (geteuid() != 0) return testing::Skip("not root");
  const RunResult result = MustRun(Shell("id -u; id -g; id -G"), {.user = {{65534, 65533}}});
  CHECK(result.stdout_text == "65534\n65533\n65533\n");
}

TEST_CASE("the destructor leaves no process behind") {
  pid_t pid = 0;
  {
    auto child = Subprocess::Start(Shell("sleep 1000"));
    REQUIRE(child.ok());
    pid = child->pid();
    CHECK(IsAlive(pid));
  }
  CHECK(kill(pid, 0) != 0);
}

TEST_CASE("moving over a running child ends it") {
  auto first = Subprocess::Start({"sleep", "1000"});
  auto second = Subprocess::Start({"sleep", "1000"});
  REQUIRE((first.ok() && second.ok()));
  const pid_t gone = first->pid();
  const pid_t kept = second->pid();
  *first = std::move(*second);
  CHECK(kill(gone, 0) != 0);
  CHECK(first->pid() == kept);
}

TEST_CASE("a checked run tells the last line of the error output") {
  CHECK(*RunChecked({"echo", "hi"}, kLong) == "hi\n");
  const auto failed = RunChecked(Shell("echo first >&2; echo last >&2; exit 2"), kLong);
  CHECK(base::Message(failed.status()) == "sh exited with status 2: last");
  const auto mute = RunChecked(Shell("echo on the wrong output; exit 9"), kLong);
  CHECK(base::Message(mute.status()) == "sh exited with status 9: on the wrong output");
}

}  // namespace
}  // namespace dstack::process
