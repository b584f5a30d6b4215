#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "dstack/common/v1/log.pb.h"

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/server/domain/run/run.h"
#include "services/server/ports/job_store.h"

namespace dstack::server {

struct LogPosition {
  common::v1::LogSource source;
  std::uint64_t sequence = 0;  // last stored one; 0 none
};

// Logs of jobs by sequence. A record is stored once however often it is sent. Thread-safe,
// blocking.
class LogStore {
 public:
  virtual ~LogStore() = default;

  struct Append {
    JobId job_id;
    common::v1::LogBatch batch;
    // End of the source: no record will follow.
    bool is_end = false;
  };
  // Makes all batches durable in one transaction and returns the last stored sequence of each, in
  // the order given. Records at or below the stored position are dropped; a hole above it is
  // INVALID_ARGUMENT. Notifies followers on all replicas.
  virtual absl::StatusOr<std::vector<std::uint64_t>> AppendAll(
      const std::vector<Append>& appends) = 0;
  // Positions of a job; sources without records are left out.
  virtual absl::StatusOr<std::vector<LogPosition>> Positions(const JobId& job) = 0;

  struct ReadRequest {
    JobId job_id;
    common::v1::LogSource source = common::v1::LOG_SOURCE_JOB;
    std::uint64_t after_sequence = 0;
    std::optional<TimePoint> since;
    // About so many bytes of data: up to a quarter more, and always one record.
    std::size_t max_bytes = 1 << 20;
  };
  struct ReadResult {
    common::v1::LogBatch batch;  // may be empty
    // Nothing is stored after the batch.
    bool is_at_end = false;
    // is_at_end, and nothing will ever follow.
    bool is_ended = false;
  };
  virtual absl::StatusOr<ReadResult> Read(const ReadRequest& request) = 0;
};

}  // namespace dstack::server
