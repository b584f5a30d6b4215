#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "libs/base/random.h"
#include "services/server/ports/run_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Runs in PostgreSQL. See RunStore.
class PostgresRunStore final : public RunStore {
 public:
  explicit PostgresRunStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<RunAndJobs> Insert(const NewRun& new_run) override;
  absl::StatusOr<RunAndJobs> UpdateSpec(const RunId& id,
                                        std::uint64_t expected_version,
                                        const api::v1::RunSpec& spec,
                                        std::uint32_t priority) override;
  absl::StatusOr<RunAndJobs> Load(const ProjectId& project, const RunKey& key) override;
  absl::StatusOr<RunAndJobs> LoadById(const RunId& id) override;
  absl::StatusOr<RunPage> List(const RunFilter& filter) override;
  absl::StatusOr<std::vector<RunAndJobs>> RequestStop(const ProjectId& project,
                                                      const std::vector<std::string>& names,
                                                      bool is_abort,
                                                      TimePoint now) override;
  absl::Status Delete(const ProjectId& project,
                      const std::vector<std::string>& names,
                      bool allow_missing) override;
  absl::StatusOr<std::vector<RunId>> ClaimDue(std::size_t limit,
                                              std::chrono::milliseconds lease) override;
  absl::Status Evaluate(const RunId& id, TimePoint now) override;

 private:
  absl::StatusOr<RunAndJobs> TryInsert(pqxx::work& tx, const NewRun& new_run);
  // A name for a run without one; checks and forgets the run that has the name otherwise.
  absl::StatusOr<std::string> TakeName(pqxx::work& tx, const NewRun& new_run);
  absl::StatusOr<RunAndJobs> LoadInside(pqxx::work& tx, const RunId& id);

  const StoreContext context_;
  base::SeededRandom random_;
};

}  // namespace dstack::server
