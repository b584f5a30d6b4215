#pragma once

#include <optional>
#include <string_view>

#include "services/shim/domain/task_record.pb.h"

#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// What to do with a task after a restart of the shim. README.md has the same as a table.
enum class RestoreAction {
  kKeep,        // over; only the logs may have to be delivered
  kRemove,      // go on with its removal
  kPrepare,     // begin from the start: nothing outside the task's directory was done
  kFetchImage,  // accelerators are held again; go on with the image
  kStart,       // the container is there and was never started
  kAdopt,       // the container runs
  kReport,      // the container ended meanwhile
  kVanished,    // there was a container, and it is gone
};

std::string_view ActionName(RestoreAction action);

// Pure. `container` is what the runtime has for the task.
RestoreAction DecideRestore(const record::TaskRecord& record,
                            const std::optional<ContainerStatus>& container);

}  // namespace dstack::shim
