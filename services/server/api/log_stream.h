#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "dstack/api/v1/log_service.pb.h"

#include "absl/status/status.h"
#include "libs/base/mutex.h"
#include "services/server/api/stream_call.h"
#include "services/server/logs/log_hub.h"
#include "services/server/ports/job_store.h"
#include "services/server/ports/log_store.h"

namespace dstack::server {

using LogCall = StreamCall<api::v1::StreamLogsResponse>;

// One reader of a job's log, with its own position: from memory where the hub has what comes next,
// otherwise from storage. Makes the next message only when the last ones have left, so a slow
// reader costs two messages of memory and nobody's time. Lives as long as its call.
class LogStream final : public std::enable_shared_from_this<LogStream> {
 public:
  struct Services {
    LogHub& hub;
    LogStore& logs;
    JobStore& jobs;
    exec::Executor& pool;
  };
  struct Request {
    RunId run;
    JobId job;
    common::v1::LogSource source = common::v1::LOG_SOURCE_JOB;
    std::uint64_t after_sequence = 0;
    std::optional<TimePoint> since;
    bool follow = false;
  };

  static void Start(const std::shared_ptr<LogCall>& call,
                    const Services& services,
                    const Request& request);

 private:
  // What one step of a turn did.
  enum class Step { kSent, kSkipped, kWaiting, kOver };

  LogStream(const std::shared_ptr<LogCall>& call, const Services& services, const Request& request);

  void Begin(const std::shared_ptr<LogCall>& call);
  void OnWake(LogHub::Wake wake);
  // Asks for a turn on the pool; turns of one stream never overlap.
  void RequestTurn();
  void Turn();
  bool EndTurn();
  Step TakeStep(LogCall& call);
  Step ReadStorage(LogCall& call);
  Step AtEnd(LogCall& call, bool is_ended);
  Step Send(LogCall& call, common::v1::LogBatch batch);
  Step SendEnd(LogCall& call);
  Step Fail(LogCall& call, const absl::Status& status);
  void Stop();

  const std::weak_ptr<LogCall> call_;
  const Services services_;
  const Request request_;

  // Only the turn touches these.
  std::uint64_t position_;
  std::optional<TimePoint> since_;
  bool is_job_final_ = false;
  bool is_log_ended_ = false;

  // What a wake-up wants looked at.
  std::atomic<bool> look_in_storage_{true};
  std::atomic<bool> look_at_job_{true};
  std::atomic<bool> look_at_token_{false};

  base::Mutex mutex_;
  bool is_turning_ GUARDED_BY(mutex_) = false;
  bool is_again_ GUARDED_BY(mutex_) = false;
  bool is_over_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<LogHub::Tap> tap_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
