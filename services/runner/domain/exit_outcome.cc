#include "services/runner/domain/exit_outcome.h"

#include <csignal>

#include <fmt/format.h>
#include <sys/wait.h>

namespace dstack::runner {

void SetWaitStatus(int wait_status, control::ExitRecord* record) {
  if (WIFEXITED(wait_status)) {
    record->set_exit_status(WEXITSTATUS(wait_status));
  } else if (WIFSIGNALED(wait_status)) {
    record->set_signal(WTERMSIG(wait_status));
  }
}

std::string DescribeOom(const control::ExitRecord& record,
                        std::uint64_t kills,
                        std::uint64_t limit_bytes) {
  // Version 1 of cgroups shows "none" as the largest number of pages.
  constexpr std::uint64_t kNoLimit = 1ULL << 60;
  constexpr double kMiB = 1024.0 * 1024.0;
  const std::string limit =
      limit_bytes == 0 || limit_bytes >= kNoLimit
          ? "the machine has no more"
          : fmt::format("the limit is {:.0f} MiB", static_cast<double>(limit_bytes) / kMiB);
  // A shell tells of its child's end by signal as 128 + n.
  const bool is_command =
      record.signal() == SIGKILL ||
      (record.has_exit_status() && record.exit_status() == kExitSignalBase + SIGKILL);
  if (is_command) return fmt::format("killed by the kernel: out of memory ({})", limit);
  return fmt::format(
      "out of memory: the kernel killed {} of the job's processes ({})", kills, limit);
}

void FillFinished(const control::ExitRecord& record, v1::JobStatus* status) {
  status->set_finish_reason(record.reason());
  if (record.has_exit_status()) status->set_exit_status(record.exit_status());
  if (record.has_signal()) status->set_signal(record.signal());
  status->set_message(record.message());
}

int SupervisorExitStatus(const v1::JobStatus& status) {
  if (status.has_exit_status()) return status.exit_status();
  if (status.has_signal()) return kExitSignalBase + status.signal();
  if (status.finish_reason() == v1::FINISH_REASON_STOPPED) return kExitSignalBase + SIGTERM;
  return kExitNotStarted;
}

}  // namespace dstack::runner
