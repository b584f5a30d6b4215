#include "services/server/domain/instance/instance.h"

#include <algorithm>

#include "fmt/format.h"
#include "services/server/domain/spec/names.h"

namespace dstack::server {

InstanceHealth HealthOf(const Instance& instance) {
  InstanceHealth health;
  if (!instance.resources) return health;
  for (const common::v1::Gpu& gpu : instance.resources->gpus()) {
    health.status = std::max(health.status, gpu.health());
    if (gpu.health_message().empty()) continue;
    if (!health.message.empty()) health.message += "; ";
    health.message += fmt::format("{} {}: {}", gpu.name(), gpu.resource_id(), gpu.health_message());
  }
  return health;
}

std::string Name(common::v1::HealthStatus health) {
  if (health == common::v1::HEALTH_STATUS_UNSPECIFIED) return "unknown";
  return EnumWord(common::v1::HealthStatus_Name(health), "HEALTH_STATUS_");
}

bool IsFinal(InstanceStatus status) { return status == api::v1::INSTANCE_STATUS_TERMINATED; }

std::string Name(InstanceStatus status) {
  return EnumWord(api::v1::InstanceStatus_Name(status), "INSTANCE_STATUS_");
}

}  // namespace dstack::server
