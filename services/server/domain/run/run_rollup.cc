#include "services/server/domain/run/run_rollup.h"

#include <algorithm>
#include <map>
#include <utility>

#include "services/server/domain/run/retry.h"
#include "services/server/domain/spec/job_spec_builder.h"

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: the words of the contract read best without their package here
using namespace std::chrono_literals;

// The runner ends a command itself when max_duration is over; the server follows after this much,
// in case the runner cannot.
constexpr auto kMaxDurationSlack = 30s;

using Position = std::pair<std::uint32_t, std::uint32_t>;  // replica, job

// Works on copies and remembers which jobs it touched.
class RollUpPass {
 public:
  RollUpPass(const Run& run, const std::vector<Job>& jobs, TimePoint now, base::IdSource* ids)
      : before_(run), run_(run), jobs_(jobs), touched_(jobs.size(), false), now_(now), ids_(ids) {
    for (std::size_t i = 0; i < jobs_.size(); ++i)
      positions_[{jobs_[i].replica_num, jobs_[i].job_num}].push_back(i);
    for (auto& [position, indices] : positions_) {
      std::sort(indices.begin(), indices.end(), [&](std::size_t a, std::size_t b) {
        return jobs_[a].submission_num < jobs_[b].submission_num;
      });
    }
  }

  void Decide() {
    if (run_.status == RUN_STATUS_PENDING) {
      ResubmitWhenDue();
    } else if (run_.status != RUN_STATUS_TERMINATING) {
      EnforceMaxDuration();
      DecideActive();
    }
    if (run_.status == RUN_STATUS_TERMINATING) FinishTerminating();
  }

  void Stop(bool is_abort) {
    const auto reason =
        is_abort ? RUN_TERMINATION_REASON_ABORTED_BY_USER : RUN_TERMINATION_REASON_STOPPED_BY_USER;
    const auto job_reason = is_abort ? JOB_TERMINATION_REASON_ABORTED_BY_USER
                                     : JOB_TERMINATION_REASON_TERMINATED_BY_USER;
    if (run_.status == RUN_STATUS_TERMINATING && !is_abort) return;
    BeginTerminating(reason, job_reason, is_abort ? 0ms : StopGrace(run_.spec));
    FinishTerminating();
  }

  RunChange Take() {
    RunChange change;
    change.new_jobs = std::move(new_jobs_);
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      if (touched_[i]) change.changed_jobs.push_back(std::move(jobs_[i]));
    }
    change.is_changed = !change.new_jobs.empty() || !change.changed_jobs.empty() || RunDiffers();
    change.run = std::move(run_);
    return change;
  }

 private:
  Job& Newest(const std::vector<std::size_t>& indices) { return jobs_[indices.back()]; }

  bool RunDiffers() const {
    return run_.status != before_.status || run_.termination_reason != before_.termination_reason ||
           run_.next_wakeup_at != before_.next_wakeup_at || run_.fleet_id != before_.fleet_id ||
           run_.resubmission_attempt != before_.resubmission_attempt ||
           run_.finished_at != before_.finished_at;
  }

  // Ends one job: at once when it holds no host, otherwise its host's owner carries it out.
  void EndJob(std::size_t index,
              JobTerminationReason reason,
              std::chrono::milliseconds grace,
              const std::string& message) {
    Job& job = jobs_[index];
    if (IsFinal(job.status)) return;
    touched_[index] = true;
    const bool is_override = reason == JOB_TERMINATION_REASON_ABORTED_BY_USER &&
                             job.termination_reason != JOB_TERMINATION_REASON_DONE_BY_RUNNER;
    if (job.status != JOB_STATUS_TERMINATING || is_override) {
      job.termination_reason = reason;
      if (!message.empty()) job.termination_message = message;
      job.stop_grace = grace;
    }
    if (job.status == JOB_STATUS_SUBMITTED) {
      job.status = FinalStatusOf(job.termination_reason);
      job.finished_at = now_;
      job.logs_ended = true;
      job.is_released = true;
    } else {
      job.status = JOB_STATUS_TERMINATING;
    }
  }

  void BeginTerminating(RunTerminationReason reason,
                        JobTerminationReason job_reason,
                        std::chrono::milliseconds grace) {
    run_.status = RUN_STATUS_TERMINATING;
    run_.termination_reason = reason;
    run_.next_wakeup_at.reset();
    for (auto& [position, indices] : positions_) EndJob(indices.back(), job_reason, grace, "");
  }

  void FinishTerminating() {
    const bool all_final =
        std::all_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return IsFinal(job.status); });
    if (!all_final) return;
    run_.status = FinalStatusOf(run_.termination_reason);
    run_.finished_at = now_;
    run_.next_wakeup_at.reset();
  }

  void EnforceMaxDuration() {
    const auto& profile = run_.spec.configuration().profile();
    run_.next_wakeup_at.reset();
    if (!profile.max_duration().has_duration()) return;
    const auto limit = std::chrono::seconds(profile.max_duration().duration().seconds()) +
                       StopGrace(run_.spec) + kMaxDurationSlack;
    for (auto& [position, indices] : positions_) {
      const Job& job = Newest(indices);
      if (job.status != JOB_STATUS_RUNNING || !job.running_at.has_value()) continue;
      const TimePoint deadline = *job.running_at + limit;
      if (now_ >= deadline) {
        EndJob(indices.back(),
               JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED,
               0ms,
               "the runner did not end the job in time");
      } else if (!run_.next_wakeup_at.has_value() || deadline < *run_.next_wakeup_at) {
        run_.next_wakeup_at = deadline;
      }
    }
  }

  struct Tally {
    bool has_running = false, has_provisioning = false, has_submitted = false, has_done = false;
    bool has_failed = false, has_exceeded = false, has_retry = false, is_master_done = false;
  };

  Tally Count() {
    Tally tally;
    for (auto& [position, indices] : positions_) {
      const Job& job = Newest(indices);
      const bool is_ending = job.status == JOB_STATUS_TERMINATING || IsFinal(job.status);
      if (is_ending && job.termination_reason == JOB_TERMINATION_REASON_DONE_BY_RUNNER) {
        tally.has_done = true;
        if (position == Position{0, 0}) tally.is_master_done = true;
      } else if (is_ending) {
        CountFailure(indices, &tally);
      } else if (job.status == JOB_STATUS_RUNNING) {
        tally.has_running = true;
      } else if (job.status == JOB_STATUS_SUBMITTED) {
        tally.has_submitted = true;
      } else {
        tally.has_provisioning = true;
      }
    }
    return tally;
  }

  void CountFailure(const std::vector<std::size_t>& indices, Tally* tally) {
    if (Newest(indices).termination_reason == JOB_TERMINATION_REASON_SCALED_DOWN) return;
    std::vector<Job> submissions;
    for (const std::size_t index : indices) submissions.push_back(jobs_[index]);
    switch (JudgeRetry(run_, submissions, now_)) {
      case RetryVerdict::kNotCovered:
        tally->has_failed = true;
        break;
      case RetryVerdict::kExceeded:
        tally->has_exceeded = true;
        break;
      case RetryVerdict::kRetry:
        tally->has_retry = true;
        break;
    }
  }

  // First match wins; the order is that of the reference.
  void DecideActive() {
    const Tally tally = Count();
    const bool master_done_suffices = run_.spec.configuration().profile().stop_criteria() ==
                                          config::v1::STOP_CRITERIA_MASTER_DONE &&
                                      tally.is_master_done;
    if (tally.has_failed) {
      BeginTerminating(
          RUN_TERMINATION_REASON_JOB_FAILED, JOB_TERMINATION_REASON_TERMINATED_BY_SERVER, 0ms);
    } else if (tally.has_exceeded) {
      BeginTerminating(RUN_TERMINATION_REASON_RETRY_LIMIT_EXCEEDED,
                       JOB_TERMINATION_REASON_TERMINATED_BY_SERVER,
                       0ms);
    } else if (tally.has_retry) {
      GoPending();
    } else if (master_done_suffices) {
      BeginTerminating(RUN_TERMINATION_REASON_ALL_JOBS_DONE,
                       JOB_TERMINATION_REASON_TERMINATED_BY_SERVER,
                       StopGrace(run_.spec));
    } else if (tally.has_running) {
      run_.status = RUN_STATUS_RUNNING;
    } else if (tally.has_provisioning) {
      run_.status = RUN_STATUS_PROVISIONING;
      run_.resubmission_attempt = 0;
    } else if (tally.has_submitted) {
      run_.status = RUN_STATUS_SUBMITTED;
    } else if (tally.has_done) {
      BeginTerminating(
          RUN_TERMINATION_REASON_ALL_JOBS_DONE, JOB_TERMINATION_REASON_TERMINATED_BY_SERVER, 0ms);
    }
  }

  void GoPending() {
    run_.status = RUN_STATUS_PENDING;
    run_.resubmission_attempt += 1;
    run_.fleet_id.reset();
    run_.fleet_name.clear();
    run_.next_wakeup_at = now_ + RetryDelay(run_.resubmission_attempt);
    for (auto& [position, indices] : positions_) {
      EndJob(indices.back(), JOB_TERMINATION_REASON_TERMINATED_BY_SERVER, 0ms, "to be resubmitted");
    }
  }

  void ResubmitWhenDue() {
    if (run_.next_wakeup_at.has_value() && now_ < *run_.next_wakeup_at) return;
    for (auto& [position, indices] : positions_) {
      if (!IsFinal(Newest(indices).status)) return;  // its end wakes this run again
    }
    for (auto& [position, indices] : positions_) {
      const Job& last = Newest(indices);
      Job next;
      next.id = JobId(ids_->NewId());
      next.run_id = last.run_id;
      next.project_id = last.project_id;
      next.name = last.name;
      next.replica_num = last.replica_num;
      next.job_num = last.job_num;
      next.submission_num = last.submission_num + 1;
      next.submitted_at = now_;
      new_jobs_.push_back(std::move(next));
    }
    run_.status = RUN_STATUS_SUBMITTED;
    run_.next_wakeup_at.reset();
  }

  const Run& before_;
  Run run_;
  std::vector<Job> jobs_;
  std::vector<bool> touched_;
  std::vector<Job> new_jobs_;
  std::map<Position, std::vector<std::size_t>> positions_;
  TimePoint now_;
  base::IdSource* ids_;
};

}  // namespace

RunChange RollUp(const Run& run, const std::vector<Job>& jobs, TimePoint now, base::IdSource& ids) {
  RollUpPass pass(run, jobs, now, &ids);
  if (!IsFinal(run.status)) pass.Decide();
  return pass.Take();
}

RunChange StopRun(const Run& run, const std::vector<Job>& jobs, bool is_abort, TimePoint now) {
  RollUpPass pass(run, jobs, now, nullptr);
  if (!IsFinal(run.status)) pass.Stop(is_abort);
  return pass.Take();
}

}  // namespace dstack::server
