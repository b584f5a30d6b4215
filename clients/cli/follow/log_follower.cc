#include "clients/cli/follow/log_follower.h"

#include <utility>

#include "libs/base/macros.h"

namespace dstack::cli {

absl::Status LogFollower::Follow(api::v1::StreamLogsRequest request) {
  request_ = std::move(request);
  has_seen_record_ = false;
  while (true) {
    StreamEnd end = StreamEnd::kBroken;
    const absl::Status status = ReadStream(&end);
    if (status.ok() && end == StreamEnd::kComplete) return absl::OkStatus();
    // A stream that ends well without the mark of the end was closed by a server that goes away.
    RETURN_IF_ERROR(reconnect_.WaitAfter(
        status.ok() ? absl::UnavailableError("the log stream ended early") : status, stopper_));
  }
}

absl::Status LogFollower::ReadStream(StreamEnd* end) {
  grpc::ClientContext context;
  connection_.Authorise(context);
  const Stopper::Call call(stopper_, context);
  const auto reader = connection_.logs().StreamLogs(&context, request_);
  api::v1::StreamLogsResponse response;
  absl::Status sink_status;
  while (reader->Read(&response)) {
    reconnect_.Succeeded();
    sink_status = TakeResponse(response);
    if (!sink_status.ok()) {
      context.TryCancel();
      break;
    }
    if (response.is_end()) *end = StreamEnd::kComplete;
  }
  absl::Status status = connection_.FromCall(reader->Finish());
  if (!sink_status.ok()) return sink_status;
  // All is here once the end was seen; how the stream itself ended does not matter then.
  if (*end == StreamEnd::kComplete) return absl::OkStatus();
  if (status.ok() && !request_.follow()) *end = StreamEnd::kComplete;
  return status;
}

absl::Status LogFollower::TakeResponse(const api::v1::StreamLogsResponse& response) {
  const std::string& submission = response.job_submission_id();
  if (request_.job_submission_id().empty() && !submission.empty()) {
    request_.set_job_submission_id(submission);
  }
  for (const auto& record : response.batch().records()) RETURN_IF_ERROR(TakeRecord(record));
  return absl::OkStatus();
}

absl::Status LogFollower::TakeRecord(const common::v1::LogRecord& record) {
  if (record.sequence() <= request_.after_sequence()) return absl::OkStatus();
  const bool has_hole = has_seen_record_ && record.sequence() != request_.after_sequence() + 1;
  if (has_hole && sink_.on_gap) sink_.on_gap(0);
  // 1 stands for a number that nobody knows any more.
  const uint64_t dropped = record.dropped_bytes();
  if (dropped > 0 && !has_hole && sink_.on_gap) sink_.on_gap(dropped == 1 ? 0 : dropped);
  if (!record.data().empty()) RETURN_IF_ERROR(sink_.on_bytes(record.data()));
  request_.set_after_sequence(record.sequence());
  has_seen_record_ = true;
  return absl::OkStatus();
}

}  // namespace dstack::cli
