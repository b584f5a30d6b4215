#pragma once

#include <cstdint>
#include <string>

#include "services/server/domain/instance/instance.h"

namespace dstack::server {

// The drain of a host: a wish in the instance's row that its owner carries to the host. The row
// decides, whatever the host may have forgotten; only a drain that was set on the host itself, when
// nothing else was wished here, is taken over into the row. Pure.

// What the host says about its drain.
struct DrainReport {
  bool is_draining = false;
  std::string reason;
  std::uint32_t live_tasks = 0;
};

// The host does what the row wishes.
bool IsAsWished(const Instance& instance, const DrainReport& report);

// Puts a report into the row; false when it changes nothing.
bool ApplyDrainReport(const DrainReport& report, TimePoint now, Instance& instance);

// The host is drained, knows it, and no job holds it.
bool IsDrainedEmpty(const Instance& instance);

}  // namespace dstack::server
