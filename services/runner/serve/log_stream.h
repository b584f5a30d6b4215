#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/common/v1/log.pb.h"

#include "libs/spool/reader.h"

namespace dstack::runner {

// One source's way from the spool to one session. What is sent and not acknowledged is bounded, so
// that a slow server does not fill our memory or that of the tunnel: the rest waits in the spool.
// Not thread-safe.
class LogStream {
 public:
  // Starts behind `after_sequence`. Where the spool starts later, a gap marker comes in the place
  // of each record that is gone; `note` tells about that.
  static absl::StatusOr<LogStream> Open(common::v1::LogSource source,
                                        const std::string& dir,
                                        std::uint64_t after_sequence,
                                        std::string* note);

  // The next records, at most about `max_bytes`; nothing when there are none at the moment or too
  // many are not acknowledged.
  absl::StatusOr<std::optional<common::v1::LogBatch>> Next(std::size_t max_bytes);
  // Idempotent; an acknowledgement of what was not sent is ignored.
  void Ack(std::uint64_t sequence);

  // All records that the spool had when Next was called last are sent.
  bool is_drained() const { return is_drained_; }
  std::uint64_t last_sent() const {
    return (next_gone_ < first_present_ ? next_gone_ : reader_->next_sequence()) - 1;
  }
  std::size_t unacked_bytes() const { return unacked_bytes_; }

 private:
  LogStream(common::v1::LogSource source, std::unique_ptr<spool::Reader> reader)
      : source_(source), reader_(std::move(reader)) {}

  std::vector<spool::Record> GoneRecords();

  common::v1::LogSource source_;
  std::unique_ptr<spool::Reader> reader_;
  // Records from the first up to the second are gone and were not marked yet; none when equal.
  std::uint64_t next_gone_ = 0;
  std::uint64_t first_present_ = 0;
  std::deque<std::pair<std::uint64_t, std::size_t>> unacked_;  // last sequence and bytes of a batch
  std::size_t unacked_bytes_ = 0;
  bool is_drained_ = false;
};

// Records as they travel. A record that is full and does not end a line is marked as part of it.
common::v1::LogBatch ToBatch(common::v1::LogSource source, std::vector<spool::Record> records);

}  // namespace dstack::runner
