#pragma once

#include <string>
#include <string_view>

namespace dstack::shim {

// Name of a task's container: "<name>-<suffix>", the suffix being the first 8 hexadecimal digits of
// SHA-256 of "<name>/<task id>". The same for the same task at all times, so that a container that
// was created but not recorded is found again by its name.
std::string ContainerName(std::string_view name, std::string_view task_id);

}  // namespace dstack::shim
