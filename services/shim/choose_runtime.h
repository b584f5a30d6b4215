#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <sys/types.h>

#include "services/shim/domain/shim_home.h"
#include "services/shim/options.h"
#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// What is known about accelerators with these ids; called from any thread, not before the first
// task.
using GpuFinder = std::function<std::vector<common::v1::Gpu>(const std::vector<std::string>&)>;

// Connects to the runtime that the options ask for. The choice of `auto` is made once and written
// to the home: a host whose engine is away for a while must not turn into a host of processes. With
// Docker this waits up to a minute for the engine. UNAVAILABLE when it does not answer.
absl::StatusOr<std::unique_ptr<ContainerRuntime>> ConnectRuntime(
    const Options& options,
    const ShimHome& home,
    const std::string& shim_id,
    uid_t owner,
    gid_t group,
    const std::vector<std::string>& missing_capabilities,
    GpuFinder find_gpus);

}  // namespace dstack::shim
