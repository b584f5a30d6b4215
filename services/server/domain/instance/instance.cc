#include "services/server/domain/instance/instance.h"

#include "services/server/domain/spec/names.h"

namespace dstack::server {

bool IsFinal(InstanceStatus status) { return status == api::v1::INSTANCE_STATUS_TERMINATED; }

std::string Name(InstanceStatus status) {
  return EnumWord(api::v1::InstanceStatus_Name(status), "INSTANCE_STATUS_");
}

}  // namespace dstack::server
