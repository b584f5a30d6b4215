#include "libs/failpoint/failpoint.h"

#include <chrono>
#include <functional>

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace dstack::failpoint {
namespace {

struct DisarmAtEnd {
  ~DisarmAtEnd() { DisarmAll(); }
};

// Status of a child process that runs `body` and exits with 0 afterwards.
int StatusOfChild(const std::function<void()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  return status;
}

TEST_CASE("an unarmed point does nothing") {
  FAILPOINT("test.unarmed");
  CHECK(FAILPOINT_STATUS("test.unarmed").ok());
  CHECK(Hits("test.unarmed") == 0);
}

TEST_CASE("error acts at every hit, once at the first, after() later") {
  DisarmAtEnd disarm;
  REQUIRE(Arm("test.error", "error").ok());
  CHECK_FALSE(FAILPOINT_STATUS("test.error").ok());
  CHECK_FALSE(FAILPOINT_STATUS("test.error").ok());
  CHECK(Hits("test.error") == 2);

  REQUIRE(ArmFromText("test.once=once:error;test.after=after(2):once:error;").ok());
  CHECK_FALSE(FAILPOINT_STATUS("test.once").ok());
  CHECK(FAILPOINT_STATUS("test.once").ok());
  CHECK(FAILPOINT_STATUS("test.after").ok());
  CHECK(FAILPOINT_STATUS("test.after").ok());
  CHECK_FALSE(FAILPOINT_STATUS("test.after").ok());
  CHECK(FAILPOINT_STATUS("test.after").ok());

  Disarm("test.error");
  CHECK(FAILPOINT_STATUS("test.error").ok());
}

TEST_CASE("sleep delays") {
  DisarmAtEnd disarm;
  REQUIRE(Arm("test.sleep", "sleep(5)").ok());
  const auto start = std::chrono::steady_clock::now();
  FAILPOINT("test.sleep");
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(5));
}

TEST_CASE("crash and exit end the process") {
  const int crashed = StatusOfChild([] {
    (void)Arm("test.crash", "crash");
    FAILPOINT("test.crash");
  });
  CHECK(WIFSIGNALED(crashed));
  CHECK(WTERMSIG(crashed) == SIGKILL);
  const int exited = StatusOfChild([] {
    (void)Arm("test.exit", "exit");
    FAILPOINT("test.exit");
  });
  CHECK(WIFEXITED(exited));
  CHECK(WEXITSTATUS(exited) == 137);
}

TEST_CASE("wrong text is refused with its name") {
  CHECK(Arm("x", "explode").message() ==
        "failpoint action 'explode' is not one of crash, exit, error, sleep(ms), off");
  CHECK_FALSE(Arm("x", "sleep(-1)").ok());
  CHECK_FALSE(Arm("x", "twice:error").ok());
  CHECK_FALSE(ArmFromText("noaction").ok());
  CHECK_FALSE(ArmFromText("=error").ok());
}

}  // namespace
}  // namespace dstack::failpoint
