#include "services/server/domain/instance/drain.h"

#include <utility>

namespace dstack::server {
namespace {

bool SetLiveTasks(const DrainReport& report, Instance& instance) {
  const std::uint32_t live_tasks = report.is_draining ? report.live_tasks : 0;
  return std::exchange(instance.drain_live_tasks, live_tasks) != live_tasks;
}

}  // namespace

bool IsAsWished(const Instance& instance, const DrainReport& report) {
  if (report.is_draining != instance.drain.has_value()) return false;
  return !report.is_draining || report.reason == instance.drain->reason;
}

bool ApplyDrainReport(const DrainReport& report, TimePoint now, Instance& instance) {
  if (IsAsWished(instance, report)) {
    const bool is_news = !std::exchange(instance.is_drain_confirmed, true);
    return SetLiveTasks(report, instance) || is_news;
  }
  // About a wish that was replaced meanwhile: the answer to the present one follows.
  if (!instance.is_drain_confirmed) return false;
  if (!report.is_draining) {
    // The host has forgotten it, for example because the shim's directory is new.
    instance.is_drain_confirmed = false;
    return true;
  }
  const TimePoint since = instance.drain ? instance.drain->since : now;
  instance.drain = InstanceDrain{.reason = report.reason, .since = since};
  SetLiveTasks(report, instance);
  return true;
}

bool IsDrainedEmpty(const Instance& instance) {
  return instance.drain.has_value() && instance.is_drain_confirmed &&
         instance.drain_live_tasks == 0 && instance.busy_blocks == 0;
}

}  // namespace dstack::server
