#pragma once

#include <string>

#include <pqxx/pqxx>

#include "services/server/ports/job_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Jobs in PostgreSQL. See JobStore.
class PostgresJobStore final : public JobStore {
 public:
  explicit PostgresJobStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<SchedulerSnapshot> LoadSchedulerSnapshot(std::size_t max_jobs) override;
  absl::Status Assign(const Assignment& assignment, TimePoint now) override;
  absl::Status FailWaiting(const JobId& id,
                           JobTerminationReason reason,
                           const std::string& message,
                           TimePoint now) override;
  absl::StatusOr<std::vector<JobAndRun>> LoadOfHost(const InstanceId& instance) override;
  absl::StatusOr<JobAndRun> Load(const JobId& id) override;
  absl::StatusOr<Job> Update(const HostEpoch& host,
                             const JobId& id,
                             TimePoint now,
                             const Change& change) override;
  absl::Status SetUnreachable(const HostEpoch& host, bool is_unreachable, TimePoint now) override;

 private:
  absl::Status AssignInside(pqxx::work& tx, const Assignment& assignment, TimePoint now);
  absl::StatusOr<Job> UpdateInside(
      pqxx::work& tx, const HostEpoch& host, const JobId& id, TimePoint now, const Change& change);
  // Jobs of a statement that ends in `where`, each with its run.
  absl::StatusOr<std::vector<JobAndRun>> SelectWithRuns(pqxx::work& tx,
                                                        const std::string& where,
                                                        const std::string& parameter);

  const StoreContext context_;
};

}  // namespace dstack::server
