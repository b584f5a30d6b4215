#pragma once

#include <functional>

#include <absl/status/status.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/clock.h"
#include "services/runner/domain/job_machine.h"
#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// The status of the job and the only place that changes it: each change gets the next revision, is
// written to status.pb and told to the listener, in this order. Not thread-safe.
class StatusBoard {
 public:
  using Fill = std::function<void(v1::JobStatus*)>;

  // Both arguments outlive the board.
  StatusBoard(const TaskDir& dir, const base::Clock& clock);

  // Continues from status.pb; without one the job is WAITING.
  absl::Status Load();
  void SetListener(std::function<void(const v1::JobStatus&)> listener);

  // Moves to another state; `fill` adds what is known from then on. FAILED_PRECONDITION when the
  // state does not accept the event, nothing changes then. A status that cannot be written (full
  // disk) is told all the same and logged: it can be rebuilt from the other files.
  absl::Status Apply(JobEvent event, const Fill& fill = nullptr);
  // Changes a detail within the state.
  void Update(const Fill& fill);

  const v1::JobStatus& status() const { return status_; }
  v1::JobState state() const { return status_.state(); }

 private:
  void Publish();

  const TaskDir& dir_;
  const base::Clock& clock_;
  v1::JobStatus status_;
  std::function<void(const v1::JobStatus&)> listener_;
};

}  // namespace dstack::runner
