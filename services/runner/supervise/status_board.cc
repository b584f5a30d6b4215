#include "services/runner/supervise/status_board.h"

#include <utility>

#include <google/protobuf/util/time_util.h>

#include "libs/base/macros.h"
#include "libs/telemetry/log.h"

namespace dstack::runner {
namespace {

google::protobuf::Timestamp ToTimestamp(base::WallTime time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

}  // namespace

StatusBoard::StatusBoard(const TaskDir& dir, const base::Clock& clock) : dir_(dir), clock_(clock) {
  status_.set_state(v1::JOB_STATE_WAITING);
  status_.set_revision(1);
  *status_.mutable_state_time() = ToTimestamp(clock_.Now());
}

absl::Status StatusBoard::Load() { return LoadProto(dir_.Status(), &status_).status(); }

void StatusBoard::SetListener(std::function<void(const v1::JobStatus&)> listener) {
  listener_ = std::move(listener);
}

absl::Status StatusBoard::Apply(JobEvent event, const Fill& fill) {
  ASSIGN_OR_RETURN(const v1::JobState to,
                   fsm::NextOrError(
                       kJobEdges,
                       status_.state(),
                       event,
                       "job",
                       [](v1::JobState state) { return Name(state); },
                       [](JobEvent what) { return Name(what); }));
  status_.set_state(to);
  *status_.mutable_state_time() = ToTimestamp(clock_.Now());
  if (fill) fill(&status_);
  Publish();
  return absl::OkStatus();
}

void StatusBoard::Update(const Fill& fill) {
  fill(&status_);
  Publish();
}

void StatusBoard::Publish() {
  status_.set_revision(status_.revision() + 1);
  const absl::Status saved = SaveFast(dir_.Status(), status_.SerializeAsString());
  if (!saved.ok()) telemetry::Error("status not written", {{"error", saved}});
  if (listener_) listener_(status_);
}

}  // namespace dstack::runner
