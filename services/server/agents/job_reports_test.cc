#include "services/server/agents/job_reports.h"

#include <functional>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using namespace api::v1;  // NOLINT: the words of the contract

const TimePoint kNow{std::chrono::seconds(1'000'000)};

Job Assigned() {
  Job job;
  job.id = JobId("job");
  job.status = JOB_STATUS_PROVISIONING;
  job.instance_id = InstanceId("host");
  job.is_released = false;
  return job;
}

shim::v1::TaskStatus Task(std::uint64_t revision, shim::v1::TaskState state) {
  shim::v1::TaskStatus task;
  task.set_revision(revision);
  task.set_state(state);
  return task;
}

runner::v1::JobStatus Runner(std::uint64_t revision, runner::v1::JobState state) {
  runner::v1::JobStatus runner;
  runner.set_revision(revision);
  runner.set_state(state);
  return runner;
}

runner::v1::JobStatus Exited(int exit_status) {
  runner::v1::JobStatus runner = Runner(4, runner::v1::JOB_STATE_FINISHED);
  runner.set_finish_reason(runner::v1::FINISH_REASON_EXITED);
  runner.set_exit_status(exit_status);
  return runner;
}

TEST_CASE("a job goes from its host's first word to its release") {
  Job job = Assigned();
  JobReports reports;
  reports.task = Task(1, shim::v1::TASK_STATE_PENDING);
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_PULLING);
  CHECK_FALSE(ApplyReports(reports, kNow, job));

  reports.task = Task(5, shim::v1::TASK_STATE_RUNNING);
  reports.runner = Runner(3, runner::v1::JOB_STATE_RUNNING);
  reports.runner->set_ssh_port(10022);
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_RUNNING);
  CHECK(job.running_at == kNow);
  CHECK(job.ssh_port == 10022);

  reports.runner = Exited(0);
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_TERMINATING);
  CHECK(job.termination_reason == JOB_TERMINATION_REASON_DONE_BY_RUNNER);
  CHECK_FALSE(job.finished_at.has_value());

  reports.logs_ended = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_DONE);
  CHECK(job.exit_status == 0);
  CHECK_FALSE(job.is_released);

  reports.is_task_gone = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.is_released);
  CHECK_FALSE(ApplyReports(reports, kNow, job));
}

TEST_CASE("ends and what they mean") {
  struct Case {
    const char* name;
    std::function<void(JobReports&)> report;
    JobStatus status;
    JobTerminationReason reason;
    std::optional<std::int32_t> exit_status;
  };
  const std::vector<Case> cases = {
      {"exit 3",
       [](JobReports& r) { r.runner = Exited(3); },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
       3},
      {"signal 9",
       [](JobReports& r) {
         r.runner = Exited(0);
         r.runner->clear_exit_status();
         r.runner->set_signal(9);
       },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
       137},
      {"too long",
       [](JobReports& r) {
         r.runner = Exited(0);
         r.runner->set_finish_reason(runner::v1::FINISH_REASON_MAX_DURATION_EXCEEDED);
       },
       JOB_STATUS_TERMINATED,
       JOB_TERMINATION_REASON_MAX_DURATION_EXCEEDED,
       0},
      {"cannot start",
       [](JobReports& r) {
         r.runner = Runner(2, runner::v1::JOB_STATE_FINISHED);
         r.runner->set_finish_reason(runner::v1::FINISH_REASON_EXECUTOR_ERROR);
       },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_EXECUTOR_ERROR,
       std::nullopt},
      {"no image",
       [](JobReports& r) {
         r.task = Task(3, shim::v1::TASK_STATE_TERMINATED);
         r.task->set_termination_reason(shim::v1::TASK_TERMINATION_REASON_CREATING_CONTAINER_ERROR);
       },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_CREATING_CONTAINER_ERROR,
       std::nullopt},
      {"container ended alone, even with status 0",
       [](JobReports& r) {
         r.task = Task(6, shim::v1::TASK_STATE_TERMINATED);
         r.task->set_termination_reason(shim::v1::TASK_TERMINATION_REASON_DONE_BY_RUNNER);
         r.task->set_exit_status(0);
       },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_CONTAINER_EXITED_WITH_ERROR,
       0},
      {"verdict",
       [](JobReports& r) {
         r.verdict = {JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE, "silent"};
       },
       JOB_STATUS_FAILED,
       JOB_TERMINATION_REASON_INSTANCE_UNREACHABLE,
       std::nullopt},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    Job job = Assigned();
    JobReports reports;
    reports.logs_ended = true;
    c.report(reports);
    CHECK(ApplyReports(reports, kNow, job));
    CHECK(job.status == c.status);
    CHECK(job.termination_reason == c.reason);
    CHECK(job.exit_status == c.exit_status);
    CHECK(job.logs_ended);
    CHECK_FALSE(job.is_released);
  }
}

TEST_CASE("a stop keeps its reason whatever the command says at its end") {
  Job job = Assigned();
  job.status = JOB_STATUS_TERMINATING;
  job.termination_reason = JOB_TERMINATION_REASON_TERMINATED_BY_USER;
  JobReports reports;
  reports.runner = Exited(0);
  reports.runner->set_finish_reason(runner::v1::FINISH_REASON_STOPPED);
  reports.runner->clear_exit_status();
  reports.runner->set_signal(15);
  reports.logs_ended = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_TERMINATED);
  CHECK(job.exit_status == 143);
}

TEST_CASE("a stopped job that never had a task ends when the host has nothing of it") {
  Job job = Assigned();
  job.status = JOB_STATUS_TERMINATING;
  job.termination_reason = JOB_TERMINATION_REASON_ABORTED_BY_USER;
  JobReports reports;
  reports.is_task_gone = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_ABORTED);
  CHECK(job.is_released);
}

TEST_CASE("old revisions change nothing") {
  Job job = Assigned();
  job.status = JOB_STATUS_RUNNING;
  job.task_revision = 7;
  job.runner_revision = 5;
  JobReports reports;
  reports.task = Task(3, shim::v1::TASK_STATE_PULLING);
  reports.task->mutable_pull_progress()->set_total_bytes(1);
  reports.runner = Runner(2, runner::v1::JOB_STATE_RUNNING);
  reports.runner->set_ssh_port(1);
  CHECK_FALSE(ApplyReports(reports, kNow, job));
}

TEST_CASE("a final job is only released") {
  Job job = Assigned();
  job.status = JOB_STATUS_FAILED;
  JobReports reports;
  reports.runner = Exited(0);
  reports.logs_ended = true;
  CHECK_FALSE(ApplyReports(reports, kNow, job));
  reports.is_task_gone = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_FAILED);
  CHECK(job.is_released);
}

TEST_CASE("T4 a published port wins over the runner's own number") {
  Job job = Assigned();
  JobReports reports;
  reports.task = Task(5, shim::v1::TASK_STATE_RUNNING);
  auto* port = reports.task->add_ports();
  port->set_container_port(10022);
  port->set_host_port(40123);
  reports.runner = Runner(3, runner::v1::JOB_STATE_RUNNING);
  reports.runner->set_ssh_port(10022);
  ApplyReports(reports, kNow, job);
  CHECK(job.ssh_port == 40123);
}

TEST_CASE("a terminated task waits for its logs before it decides") {
  Job job = Assigned();
  job.status = JOB_STATUS_RUNNING;
  JobReports reports;
  reports.task = Task(6, shim::v1::TASK_STATE_TERMINATED);
  CHECK_FALSE(ApplyReports(reports, kNow, job));
  reports.runner = Exited(0);
  reports.logs_ended = true;
  CHECK(ApplyReports(reports, kNow, job));
  CHECK(job.status == JOB_STATUS_DONE);
}

}  // namespace
}  // namespace dstack::server
