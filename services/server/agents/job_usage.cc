#include "services/server/agents/job_usage.h"

#include <chrono>
#include <utility>

namespace dstack::server {
namespace {

// A host that measures its tasks does so every second and tells it every few.
constexpr std::chrono::seconds kOutsideIsSilent{30};

}  // namespace

JobUsage::JobUsage(JobId job, UsageRecorder& recorder)
    : job_(std::move(job)), recorder_(recorder) {}

JobUsage::~JobUsage() {
  auto inside = inside_.Finish();
  Record(JoinPoints(outside_.Finish(), inside ? std::move(inside) : std::move(inside_point_)));
}

void JobUsage::AddOutside(UsageSample sample) {
  last_outside_ = sample.time;
  if (auto point = outside_.Add(std::move(sample))) {
    Record(JoinPoints(std::move(point), std::exchange(inside_point_, std::nullopt)));
  }
}

void JobUsage::AddInside(UsageSample sample) {
  const TimePoint time = sample.time;
  auto point = inside_.Add(std::move(sample));
  if (!point) return;
  // The host leads; its point of this interval comes a little later.
  const bool is_alone = !last_outside_ || time - *last_outside_ > kOutsideIsSilent;
  if (is_alone) {
    Record(std::move(point));
  } else {
    inside_point_ = std::move(point);
  }
}

void JobUsage::SetSshActivity(const runner::v1::SshActivity& activity) {
  api::v1::SshActivity& shown = ssh_activity_.emplace();
  shown.set_open_connections(activity.open_connections());
  *shown.mutable_inactive() = activity.inactive();
}

void JobUsage::Record(std::optional<api::v1::UsagePoint> point) {
  if (!point) return;
  if (ssh_activity_) *point->mutable_ssh_activity() = *ssh_activity_;
  recorder_.Add(job_.str(), *std::move(point));
}

}  // namespace dstack::server
