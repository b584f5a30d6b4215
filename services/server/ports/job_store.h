#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/server/domain/instance/instance.h"
#include "services/server/domain/job/job.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// A job with what is needed to start it.
struct JobAndRun {
  Job job;
  Run run;
};

// A waiting job as the scheduler sees it.
struct WaitingJob {
  Job job;
  Run run;
};

// All that the scheduler's pure function looks at. Taken in one transaction.
struct SchedulerSnapshot {
  std::vector<WaitingJob> jobs;     // submitted, by priority (high first), then submission time
  std::vector<Instance> instances;  // not terminated, all projects that have waiting jobs
};

struct Assignment {
  JobId job_id;
  InstanceId instance_id;
  std::uint32_t blocks = 1;
  api::v1::Offer offer;
};

// Who writes: the owner of a host. A write with an epoch below the stored one changes nothing and
// returns ABORTED/LEASE_LOST.
struct HostEpoch {
  InstanceId instance_id;
  std::uint64_t epoch = 0;
};

// Jobs from the view of the scheduler and of the hosts' owners. Each write is one transaction in
// the lock order run, job, instance; it applies the change to the Job, calls domain RollUp for the
// run, writes events and notifications. Thread-safe, blocking.
class JobStore {
 public:
  virtual ~JobStore() = default;

  virtual absl::StatusOr<SchedulerSnapshot> LoadSchedulerSnapshot(std::size_t max_jobs) = 0;
  // SUBMITTED → PROVISIONING on that host if the job still waits, the host is not ending and the
  // blocks are still free; otherwise ABORTED/LEASE_LOST and nothing is changed. Binds the run to
  // the fleet.
  virtual absl::Status Assign(const Assignment& assignment, TimePoint now) = 0;
  // Ends a job that still waits.
  virtual absl::Status FailWaiting(const JobId& id,
                                   JobTerminationReason reason,
                                   const std::string& message,
                                   TimePoint now) = 0;

  // Jobs of a host that are not released yet.
  virtual absl::StatusOr<std::vector<JobAndRun>> LoadOfHost(const InstanceId& instance) = 0;
  virtual absl::StatusOr<JobAndRun> Load(const JobId& id) = 0;
  // Loads the job FOR UPDATE under the host's epoch, calls `change` (pure, may be called again
  // after a serialization failure), stores the job when it returns true, rolls up the run. When the
  // job becomes released its blocks are given back, and IDLE/BUSY of the host follows busy_blocks.
  // Returns the job as stored.
  using Change = std::function<bool(Job& job)>;
  virtual absl::StatusOr<Job> Update(const HostEpoch& host,
                                     const JobId& id,
                                     TimePoint now,
                                     const Change& change) = 0;
  // Marks (or clears) all live jobs of a host as unreachable.
  virtual absl::Status SetUnreachable(const HostEpoch& host,
                                      bool is_unreachable,
                                      TimePoint now) = 0;
};

}  // namespace dstack::server
