#pragma once

#include <vector>

#include "services/server/ports/log_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Logs in PostgreSQL as compressed segments. See LogStore.
class PostgresLogStore final : public LogStore {
 public:
  explicit PostgresLogStore(const StoreContext& context) : context_(context) {}

  // NOT_FOUND/JOB_NOT_FOUND, INVALID_ARGUMENT (hole) and FAILED_PRECONDITION/INVALID_STATE (records
  // after the end) carry the metadata "job_id"; nothing of the call is stored then.
  absl::StatusOr<std::vector<std::uint64_t>> AppendAll(const std::vector<Append>& appends) override;
  absl::StatusOr<std::vector<LogPosition>> Positions(const JobId& job) override;
  // A source ends with its own end, and at the latest when the job's logs have ended or its host
  // has given the job up. NOT_FOUND/JOB_NOT_FOUND.
  absl::StatusOr<ReadResult> Read(const ReadRequest& request) override;

 private:
  const StoreContext context_;
};

}  // namespace dstack::server
