#include "services/shim/domain/shim_home.h"

#include <fmt/format.h>

#include "libs/base/sha256.h"

namespace dstack::shim {

std::string ShimHome::Path(std::string_view name) const {
  return fmt::format("{}/{}", root_, name);
}

std::string ShimHome::TaskDir(std::string_view task_id) const {
  return fmt::format("{}/{}", Tasks(), task_id);
}

std::string ShimHome::RunnerDir(std::string_view task_id) const {
  return fmt::format("{}/runner", TaskDir(task_id));
}

std::string ShimHome::PullLog(std::string_view task_id) const {
  return fmt::format("{}/pull.log", TaskDir(task_id));
}

std::string ShimHome::ShortRunnerDir(std::string_view task_id) const {
  return fmt::format("{}/{}", ShortNames(), base::Sha256Hex(std::string(task_id)).substr(0, 12));
}

std::string ShimHome::RunnerSocket(std::string_view task_id) const {
  return fmt::format("{}/runner.sock", ShortRunnerDir(task_id));
}

}  // namespace dstack::shim
