#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dstack/api/v1/metrics.pb.h"

#include "absl/status/statusor.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// What jobs and hosts used. Thread-safe, blocking.
class UsageStore {
 public:
  virtual ~UsageStore() = default;

  struct Row {
    std::string subject_id;  // of a job or an instance
    api::v1::UsagePoint point;
  };
  // One statement for all. A point that is there already (same subject, same time) stays.
  virtual absl::Status Append(const std::vector<Row>& rows) = 0;

  struct Window {
    std::uint32_t limit = 1;
    std::optional<TimePoint> after;
    std::optional<TimePoint> before;
  };
  // The newest points of the window, oldest first.
  virtual absl::StatusOr<std::vector<api::v1::UsagePoint>> Read(const std::string& subject_id,
                                                                const Window& window) = 0;
};

}  // namespace dstack::server
