#include "services/server/domain/run/run_rollup.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT
using namespace std::chrono_literals;

const TimePoint kNow = TimePoint() + 1000h;

Run ActiveRun() {
  Run run;
  run.id = RunId("run");
  run.name = "train";
  run.spec.mutable_configuration()->mutable_task();
  run.submitted_at = kNow - 1min;
  return run;
}

Job JobIn(JobStatus status, JobTerminationReason reason = JOB_TERMINATION_REASON_UNSPECIFIED) {
  Job job;
  job.id = JobId("job");
  job.run_id = RunId("run");
  job.name = "train-0-0";
  job.status = status;
  job.termination_reason = reason;
  job.submitted_at = kNow - 1min;
  if (status != JOB_STATUS_SUBMITTED) job.instance_id = InstanceId("host");
  if (IsFinal(status)) job.finished_at = kNow;
  return job;
}

RunChange RollUpOne(const Run& run, const Job& job, TimePoint now = kNow) {
  base::SequentialIdSource ids;
  return RollUp(run, {job}, now, ids);
}

void EnableRetry(Run* run, std::int64_t seconds) {
  auto* retry = run->spec.mutable_configuration()->mutable_profile()->mutable_retry();
  retry->set_enabled(true);
  retry->mutable_duration()->set_seconds(seconds);
}

TEST_CASE("a run follows its only job") {
  struct Row {
    const char* name;
    JobStatus job;
    JobTerminationReason reason;
    RunStatus run;
  };
  const Row row = GENERATE(
      Row{"waiting",
          JOB_STATUS_SUBMITTED,
          JOB_TERMINATION_REASON_UNSPECIFIED,
          RUN_STATUS_SUBMITTED},
      Row{"has a host",
          JOB_STATUS_PROVISIONING,
          JOB_TERMINATION_REASON_UNSPECIFIED,
          RUN_STATUS_PROVISIONING},
      Row{"pulling",
          JOB_STATUS_PULLING,
          JOB_TERMINATION_REASON_UNSPECIFIED,
          RUN_STATUS_PROVISIONING},
      Row{"running", JOB_STATUS_RUNNING, JOB_TERMINATION_REASON_UNSPECIFIED, RUN_STATUS_RUNNING},
      Row{"ending well",
          JOB_STATUS_TERMINATING,
          JOB_TERMINATION_REASON_DONE_BY_RUNNER,
          RUN_STATUS_TERMINATING},
      Row{"done", JOB_STATUS_DONE, JOB_TERMINATION_REASON_DONE_BY_RUNNER, RUN_STATUS_DONE},
      Row{"ending badly",
          JOB_STATUS_TERMINATING,
          JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
          RUN_STATUS_TERMINATING},
      Row{"failed",
          JOB_STATUS_FAILED,
          JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
          RUN_STATUS_FAILED},
      Row{"no capacity",
          JOB_STATUS_FAILED,
          JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY,
          RUN_STATUS_FAILED},
      Row{"too long",
          JOB_STATUS_TERMINATED,
          JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED,
          RUN_STATUS_FAILED});
  INFO(row.name);
  const RunChange change = RollUpOne(ActiveRun(), JobIn(row.job, row.reason));
  CHECK(change.run.status == row.run);
  CHECK(change.run.finished_at.has_value() == IsFinal(row.run));

  SECTION("applied to its own result it changes nothing") {
    base::SequentialIdSource ids;
    const Job job =
        change.changed_jobs.empty() ? JobIn(row.job, row.reason) : change.changed_jobs[0];
    CHECK_FALSE(RollUp(change.run, {job}, kNow, ids).is_changed);
  }
}

TEST_CASE("a final run never changes") {
  Run run = ActiveRun();
  run.status = RUN_STATUS_DONE;
  CHECK_FALSE(RollUpOne(run, JobIn(JOB_STATUS_RUNNING)).is_changed);
  CHECK_FALSE(StopRun(run, {JobIn(JOB_STATUS_RUNNING)}, true, kNow).is_changed);
}

TEST_CASE("stopping a waiting run ends it at once") {
  const RunChange change = StopRun(ActiveRun(), {JobIn(JOB_STATUS_SUBMITTED)}, false, kNow);
  CHECK(change.run.status == RUN_STATUS_TERMINATED);
  REQUIRE(change.changed_jobs.size() == 1);
  CHECK(change.changed_jobs[0].status == JOB_STATUS_TERMINATED);
  CHECK(change.changed_jobs[0].logs_ended);
}

TEST_CASE("stopping a running run gives its job the grace, an abort takes it away") {
  Run run = ActiveRun();
  run.spec.mutable_configuration()
      ->mutable_profile()
      ->mutable_stop_duration()
      ->mutable_duration()
      ->set_seconds(7);
  const RunChange stop = StopRun(run, {JobIn(JOB_STATUS_RUNNING)}, false, kNow);
  CHECK(stop.run.status == RUN_STATUS_TERMINATING);
  REQUIRE(stop.changed_jobs.size() == 1);
  CHECK(stop.changed_jobs[0].status == JOB_STATUS_TERMINATING);
  CHECK(stop.changed_jobs[0].stop_grace == 7s);
  CHECK_FALSE(StopRun(stop.run, stop.changed_jobs, false, kNow).is_changed);

  const RunChange abort = StopRun(stop.run, stop.changed_jobs, true, kNow);
  CHECK(abort.run.termination_reason == RUN_TERMINATION_REASON_ABORTED_BY_USER);
  REQUIRE(abort.changed_jobs.size() == 1);
  CHECK(abort.changed_jobs[0].stop_grace == 0s);
  CHECK(abort.changed_jobs[0].termination_reason == JOB_TERMINATION_REASON_ABORTED_BY_USER);
}

TEST_CASE("a stop that comes after the command's own end does not change the job's result") {
  const Job ended = JobIn(JOB_STATUS_TERMINATING, JOB_TERMINATION_REASON_DONE_BY_RUNNER);
  for (const bool is_abort : {false, true}) {
    const RunChange change = StopRun(ActiveRun(), {ended}, is_abort, kNow);
    for (const Job& job : change.changed_jobs)
      CHECK(job.termination_reason == JOB_TERMINATION_REASON_DONE_BY_RUNNER);
  }
}

TEST_CASE("a failed job with a retry policy makes the run wait and then submit again") {
  Run run = ActiveRun();
  EnableRetry(&run, 3600);
  Job failed = JobIn(JOB_STATUS_FAILED, JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR);
  const RunChange pending = RollUpOne(run, failed);
  CHECK(pending.run.status == RUN_STATUS_PENDING);
  CHECK(pending.run.next_wakeup_at == kNow + 15s);

  base::SequentialIdSource ids;
  CHECK_FALSE(RollUp(pending.run, {failed}, kNow + 14s, ids).is_changed);
  const RunChange again = RollUp(pending.run, {failed}, kNow + 15s, ids);
  CHECK(again.run.status == RUN_STATUS_SUBMITTED);
  REQUIRE(again.new_jobs.size() == 1);
  CHECK(again.new_jobs[0].submission_num == 1);
  CHECK(again.new_jobs[0].name == "train-0-0");
}

TEST_CASE("retries end when their duration is over") {
  Run run = ActiveRun();
  EnableRetry(&run, 30);
  Job failed = JobIn(JOB_STATUS_FAILED, JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY);
  failed.instance_id.reset();
  const RunChange change = RollUpOne(run, failed);  // submitted a minute ago
  CHECK(change.run.status == RUN_STATUS_FAILED);
  CHECK(change.run.termination_reason == RUN_TERMINATION_REASON_RETRY_LIMIT_EXCEEDED);
}

TEST_CASE("an error without any host so far is not retried") {
  Run run = ActiveRun();
  EnableRetry(&run, 3600);
  Job failed = JobIn(JOB_STATUS_FAILED, JOB_TERMINATION_REASON_EXECUTOR_ERROR);
  failed.instance_id.reset();
  CHECK(RollUpOne(run, failed).run.termination_reason == RUN_TERMINATION_REASON_JOB_FAILED);
}

TEST_CASE("one failed node ends its siblings") {
  Job other = JobIn(JOB_STATUS_RUNNING);
  other.id = JobId("other");
  other.job_num = 1;
  base::SequentialIdSource ids;
  const RunChange change =
      RollUp(ActiveRun(),
             {JobIn(JOB_STATUS_FAILED, JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR), other},
             kNow,
             ids);
  CHECK(change.run.status == RUN_STATUS_TERMINATING);
  REQUIRE(change.changed_jobs.size() == 1);
  CHECK(change.changed_jobs[0].id == JobId("other"));
  CHECK(change.changed_jobs[0].termination_reason == JOB_TERMINATION_REASON_TERMINATED_BY_SERVER);
}

TEST_CASE("the server ends a job that its runner did not end in time") {
  Run run = ActiveRun();
  auto* profile = run.spec.mutable_configuration()->mutable_profile();
  profile->mutable_max_duration()->mutable_duration()->set_seconds(60);
  profile->mutable_stop_duration()->mutable_duration()->set_seconds(10);
  Job job = JobIn(JOB_STATUS_RUNNING);
  job.running_at = kNow;
  const RunChange armed = RollUpOne(run, job);
  CHECK(armed.run.next_wakeup_at == kNow + 100s);
  const RunChange ended = RollUpOne(armed.run, job, kNow + 100s);
  REQUIRE(ended.changed_jobs.size() == 1);
  CHECK(ended.changed_jobs[0].termination_reason == JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED);
}

}  // namespace
}  // namespace dstack::server
