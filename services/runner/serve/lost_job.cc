#include "services/runner/serve/lost_job.h"

#include <algorithm>
#include <cstdint>

#include "services/runner/control/control.pb.h"

#include "libs/base/macros.h"
#include "services/runner/domain/exit_outcome.h"
#include "services/runner/supervise/runner_log.h"
#include "services/runner/supervise/status_board.h"

namespace dstack::runner {
namespace {

absl::StatusOr<std::uint64_t> AckedSequence(const TaskDir& dir, common::v1::LogSource source) {
  control::AckedRecord acked;
  RETURN_IF_ERROR(LoadProto(dir.Acked(), &acked).status());
  std::uint64_t sequence = 0;
  for (const v1::LogPosition& position : acked.positions()) {
    if (position.source() == source) sequence = std::max(sequence, position.sequence());
  }
  return sequence;
}

}  // namespace

absl::StatusOr<v1::JobStatus> ConcludeJob(const TaskDir& dir, const base::Clock& clock) {
  StatusBoard board(dir, clock);
  RETURN_IF_ERROR(board.Load());
  if (board.state() == v1::JOB_STATE_FINISHED) return board.status();
  control::ExitRecord record;
  ASSIGN_OR_RETURN(const bool has_exit, LoadProto(dir.Exit(), &record));
  if (!has_exit) {
    record.set_reason(v1::FINISH_REASON_LOST);
    record.set_message(base::Exists(dir.Started())
                           ? "the container ended before the command's end was seen"
                           : "the container ended before the command was started");
    ASSIGN_OR_RETURN(const std::uint64_t acked, AckedSequence(dir, common::v1::LOG_SOURCE_RUNNER));
    RETURN_IF_ERROR(base::MakeDirs(dir.Spools(), 0700));
    ASSIGN_OR_RETURN(
        auto log,
        RunnerLog::Open({.dir = dir.Spool(common::v1::LOG_SOURCE_RUNNER), .after_sequence = acked},
                        clock,
                        [] {}));
    log->Line(record.message());
  }
  // A crash between exit.pb and status.pb leaves an earlier state than the command's; every live
  // state may be lost, and what matters is the record.
  RETURN_IF_ERROR(
      board.Apply(JobEvent::kLose, [&](v1::JobStatus* status) { FillFinished(record, status); }));
  return board.status();
}

}  // namespace dstack::runner
