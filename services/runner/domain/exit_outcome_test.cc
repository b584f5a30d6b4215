#include "services/runner/domain/exit_outcome.h"

#include <csignal>

#include <catch2/catch.hpp>

namespace dstack::runner {
namespace {

v1::JobStatus Finished(v1::FinishReason reason, int wait_status) {
  control::ExitRecord record;
  record.set_reason(reason);
  SetWaitStatus(wait_status, &record);
  v1::JobStatus status;
  FillFinished(record, &status);
  return status;
}

TEST_CASE("exit status and signal of a wait status") {
  const v1::JobStatus exited = Finished(v1::FINISH_REASON_EXITED, 3 << 8);
  CHECK(exited.exit_status() == 3);
  CHECK_FALSE(exited.has_signal());
  CHECK(SupervisorExitStatus(exited) == 3);

  const v1::JobStatus killed = Finished(v1::FINISH_REASON_STOPPED, SIGKILL);
  CHECK_FALSE(killed.has_exit_status());
  CHECK(killed.signal() == SIGKILL);
  CHECK(SupervisorExitStatus(killed) == 137);
}

TEST_CASE("the kernel's kills for want of memory, in words") {
  constexpr std::uint64_t kLimit = 512ULL << 20;
  control::ExitRecord record;
  SetWaitStatus(SIGKILL, &record);
  CHECK(DescribeOom(record, 1, kLimit) ==
        "killed by the kernel: out of memory (the limit is 512 MiB)");
  SetWaitStatus(137 << 8, &record);
  CHECK(DescribeOom(record, 1, 0) ==
        "killed by the kernel: out of memory (the machine has no more)");
  control::ExitRecord survived;
  SetWaitStatus(0, &survived);
  CHECK(DescribeOom(survived, 2, 9223372036854771712ULL) ==
        "out of memory: the kernel killed 2 of the job's processes (the machine has no more)");
}

TEST_CASE("exit status of a supervisor whose command never ran") {
  v1::JobStatus status;
  status.set_finish_reason(v1::FINISH_REASON_STOPPED);
  CHECK(SupervisorExitStatus(status) == 143);
  status.set_finish_reason(v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(SupervisorExitStatus(status) == 125);
  status.set_exit_status(127);
  CHECK(SupervisorExitStatus(status) == 127);
}

}  // namespace
}  // namespace dstack::runner
