#include "services/runner/domain/exit_outcome.h"

#include <csignal>

#include <sys/wait.h>

namespace dstack::runner {

void SetWaitStatus(int wait_status, control::ExitRecord* record) {
  if (WIFEXITED(wait_status)) {
    record->set_exit_status(WEXITSTATUS(wait_status));
  } else if (WIFSIGNALED(wait_status)) {
    record->set_signal(WTERMSIG(wait_status));
  }
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
