#pragma once

#include <optional>

#include "dstack/runner/v1/metrics.pb.h"

#include "libs/base/ids.h"
#include "services/server/domain/usage/usage_meter.h"
#include "services/server/usage/usage_recorder.h"

namespace dstack::server {

// What one job uses, as its host and its runner tell it, on the way to the database. Not
// thread-safe.
class JobUsage {
 public:
  // `recorder` outlives the object.
  JobUsage(JobId job, UsageRecorder& recorder);
  // Records what came since the last point.
  ~JobUsage();
  JobUsage(const JobUsage&) = delete;
  JobUsage& operator=(const JobUsage&) = delete;

  void AddOutside(UsageSample sample);
  void AddInside(UsageSample sample);
  // Shown with the next point.
  void SetSshActivity(const runner::v1::SshActivity& activity);

 private:
  void Record(std::optional<api::v1::UsagePoint> point);

  const JobId job_;
  UsageRecorder& recorder_;
  UsageMeter outside_;
  UsageMeter inside_;
  // Last point from inside that no point from outside has taken up, for the same interval.
  std::optional<api::v1::UsagePoint> inside_point_;
  std::optional<api::v1::SshActivity> ssh_activity_;
  std::optional<TimePoint> last_outside_;
};

}  // namespace dstack::server
