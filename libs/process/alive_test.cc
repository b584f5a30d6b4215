#include "libs/process/alive.h"

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace dstack::process {
namespace {

TEST_CASE("a process is alive, then a zombie, then gone") {
  CHECK(IsAlive(getpid()));
  CHECK_FALSE(IsZombie(getpid()));
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(IsAlive(pid));
  CHECK(IsZombie(pid));
  REQUIRE(waitpid(pid, nullptr, 0) == pid);
  CHECK_FALSE(IsAlive(pid));
  CHECK_FALSE(IsZombie(pid));
}

}  // namespace
}  // namespace dstack::process
