#include "services/shim/domain/container_name.h"

#include <fmt/format.h>

#include "libs/base/sha256.h"

namespace dstack::shim {

std::string ContainerName(std::string_view name, std::string_view task_id) {
  const std::string digest = base::Sha256Hex(fmt::format("{}/{}", name, task_id));
  return fmt::format("{}-{}", name, digest.substr(0, 8));
}

}  // namespace dstack::shim
