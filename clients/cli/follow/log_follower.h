// Reads the log of a job, each byte once and in order, whatever happens to the connection.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <absl/status/status.h>

#include "dstack/api/v1/log_service.pb.h"

#include "clients/cli/follow/reconnect.h"
#include "clients/cli/follow/stopper.h"
#include "clients/cli/session/connection.h"

namespace dstack::cli {

struct LogSink {
  // Output of the job. An error ends the reading and is returned by Follow.
  std::function<absl::Status(std::string_view bytes)> on_bytes;
  // Output that is missing here: `dropped_bytes` by the job's policy, or (0) records that are no
  // longer stored.
  std::function<void(uint64_t dropped_bytes)> on_gap;
};

// Not thread-safe; one object per log. The references outlive it.
class LogFollower {
 public:
  LogFollower(Connection& connection, LogSink sink, Reconnect& reconnect, Stopper& stopper)
      : connection_(connection), sink_(std::move(sink)), reconnect_(reconnect), stopper_(stopper) {}

  // Reads what `request` asks for; with follow until the log of the job is complete. A stream that
  // breaks is opened again after the last record that went to the sink. When the newest submission
  // was asked for, the first answer pins its id. Errors: of the server, of the sink, CANCELLED when
  // stopped.
  absl::Status Follow(api::v1::StreamLogsRequest request);

  // Sequence of the last record that went to the sink; 0: none. Any thread may ask only after
  // Follow.
  uint64_t last_sequence() const { return request_.after_sequence(); }

 private:
  enum class StreamEnd { kComplete, kBroken };

  absl::Status ReadStream(StreamEnd* end);
  absl::Status TakeResponse(const api::v1::StreamLogsResponse& response);
  absl::Status TakeRecord(const common::v1::LogRecord& record);

  Connection& connection_;
  LogSink sink_;
  Reconnect& reconnect_;
  Stopper& stopper_;
  api::v1::StreamLogsRequest request_;
  bool has_seen_record_ = false;
};

}  // namespace dstack::cli
