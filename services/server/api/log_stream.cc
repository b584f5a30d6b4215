#include "services/server/api/log_stream.h"

#include <utility>

#include "libs/base/status.h"
#include "services/server/api/convert.h"

namespace dstack::server {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;
// From storage: each read is a transaction, and with a quarter more it is still below the 1 MiB that
// a batch may have.
constexpr std::size_t kStorageChunkBytes = 768 << 10;
// A turn gives the thread back after so many messages: other readers wait.
constexpr int kStepsPerTurn = 16;

std::uint64_t LastOf(const common::v1::LogBatch& batch) {
  return batch.records(batch.records_size() - 1).sequence();
}

TimePoint TimeOf(const common::v1::LogRecord& record) {
  return TimePoint(std::chrono::duration_cast<TimePoint::duration>(
      std::chrono::nanoseconds(static_cast<std::int64_t>(record.time_unix_nano()))));
}

// Drops records before `since` from the front.
void DropBefore(TimePoint since, common::v1::LogBatch& batch) {
  int count = 0;
  while (count < batch.records_size() && TimeOf(batch.records(count)) < since) ++count;
  batch.mutable_records()->DeleteSubrange(0, count);
}

}  // namespace

LogStream::LogStream(const std::shared_ptr<LogCall>& call,
                     const Services& services,
                     const Request& request)
    : call_(call),
      services_(services),
      request_(request),
      position_(request.after_sequence),
      since_(request.since) {}

void LogStream::Start(const std::shared_ptr<LogCall>& call,
                      const Services& services,
                      const Request& request) {
  auto self = std::shared_ptr<LogStream>(new LogStream(call, services, request));
  self->Begin(call);
}

void LogStream::Begin(const std::shared_ptr<LogCall>& call) {
  auto self = shared_from_this();
  // The writer keeps the stream alive, and lets go when the call is over.
  call->writer().OnWritable([self] { self->RequestTurn(); });
  call->OnOver([self] { self->Stop(); });
  if (request_.follow) {
    // Before the first look into storage, so that nothing falls between the two.
    auto tap = services_.hub.Follow(
        request_.run, request_.job, request_.source, [weak = weak_from_this()](LogHub::Wake wake) {
          if (auto alive = weak.lock()) alive->OnWake(wake);
        });
    base::MutexLock lock(mutex_);
    if (!is_over_) tap_ = std::move(tap);
  }
  RequestTurn();
}

void LogStream::OnWake(LogHub::Wake wake) {
  if (wake == LogHub::Wake::kState) look_at_job_ = true;
  if (wake == LogHub::Wake::kLookAgain) {
    look_in_storage_ = true;
    look_at_job_ = true;
    look_at_token_ = true;
  }
  RequestTurn();
}

void LogStream::RequestTurn() {
  {
    base::MutexLock lock(mutex_);
    if (is_over_) return;
    is_again_ = true;
    if (is_turning_) return;
    is_turning_ = true;
    is_again_ = false;
  }
  services_.pool.Post([self = shared_from_this()] { self->Turn(); });
}

void LogStream::Turn() {
  auto call = call_.lock();
  if (!call) return;
  if (look_at_token_.exchange(false)) {
    const absl::Status status = call->AuthenticateAgain();
    if (absl::IsUnauthenticated(status)) call->Finish(status);
  }
  int steps = 0;
  while (call->writer().IsWritable()) {
    const Step step = TakeStep(*call);
    if (step == Step::kOver) return;
    if (step == Step::kWaiting) break;
    if (++steps < kStepsPerTurn) continue;
    services_.pool.Post([self = shared_from_this()] { self->Turn(); });
    return;
  }
  if (EndTurn()) services_.pool.Post([self = shared_from_this()] { self->Turn(); });
}

bool LogStream::EndTurn() {
  base::MutexLock lock(mutex_);
  is_turning_ = is_again_ && !is_over_;
  is_again_ = false;
  return is_turning_;
}

LogStream::Step LogStream::TakeStep(LogCall& call) {
  std::shared_ptr<LogHub::Tap> tap;
  {
    base::MutexLock lock(mutex_);
    if (is_over_) return Step::kOver;
    tap = tap_;
  }
  LogHub::Position known;
  if (tap) {
    auto batch = tap->ReadAfter(position_, kChunkBytes);
    if (batch) return Send(call, *std::move(batch));
    known = tap->position();
  }
  if (look_in_storage_.exchange(false) || known.last_sequence > position_) return ReadStorage(call);
  return AtEnd(call, known.is_ended || is_log_ended_);
}

LogStream::Step LogStream::ReadStorage(LogCall& call) {
  auto result = services_.logs.Read({.job_id = request_.job,
                                     .source = request_.source,
                                     .after_sequence = position_,
                                     .since = since_,
                                     .max_bytes = kStorageChunkBytes});
  if (!result.ok()) return Fail(call, result.status());
  is_log_ended_ = result->is_ended;
  if (!result->batch.records().empty()) {
    look_in_storage_ = !result->is_at_end;
    return Send(call, std::move(result->batch));
  }
  if (!result->is_at_end) {
    look_in_storage_ = true;
    return Step::kWaiting;
  }
  return AtEnd(call, is_log_ended_);
}

// Nothing is stored after the position. The log is complete when its end is stored, or when the job
// is over and has no end to store.
LogStream::Step LogStream::AtEnd(LogCall& call, bool is_ended) {
  if (is_ended || is_job_final_) return SendEnd(call);
  if (look_at_job_.exchange(false)) {
    const auto job = services_.jobs.Load(request_.job);
    if (!job.ok() && !absl::IsNotFound(job.status())) return Fail(call, job.status());
    is_job_final_ = !job.ok() || IsFinal(job->job.status);
    if (is_job_final_) {
      // What was stored before the job became final may have been missed by the look before.
      look_in_storage_ = true;
      return Step::kSkipped;
    }
  }
  if (request_.follow) return Step::kWaiting;
  call.Finish(absl::OkStatus());
  return Step::kOver;
}

LogStream::Step LogStream::Send(LogCall& call, common::v1::LogBatch batch) {
  position_ = LastOf(batch);
  if (since_) {
    DropBefore(*since_, batch);
    if (batch.records().empty()) return Step::kSkipped;
    since_.reset();
  }
  api::v1::StreamLogsResponse response;
  *response.mutable_batch() = std::move(batch);
  response.set_job_submission_id(request_.job.str());
  return call.writer().Offer(std::move(response)) ? Step::kSent : Step::kOver;
}

LogStream::Step LogStream::SendEnd(LogCall& call) {
  api::v1::StreamLogsResponse response;
  response.set_job_submission_id(request_.job.str());
  response.set_is_end(true);
  call.writer().Offer(std::move(response));
  call.Finish(absl::OkStatus());
  return Step::kOver;
}

LogStream::Step LogStream::Fail(LogCall& call, const absl::Status& status) {
  call.Finish(status);
  return Step::kOver;
}

void LogStream::Stop() {
  std::shared_ptr<LogHub::Tap> tap;
  base::MutexLock lock(mutex_);
  is_over_ = true;
  tap = std::move(tap_);
}

}  // namespace dstack::server
