#include "services/shim/domain/restore.h"

namespace dstack::shim {
namespace {

RestoreAction DecideByContainer(const ContainerStatus& container) {
  switch (container.state) {
    case ContainerState::kCreated:
      return RestoreAction::kStart;
    case ContainerState::kRunning:
      return RestoreAction::kAdopt;
    case ContainerState::kExited:
      return RestoreAction::kReport;
  }
  return RestoreAction::kReport;
}

}  // namespace

std::string_view ActionName(RestoreAction action) {
  switch (action) {
    case RestoreAction::kKeep:
      return "keep";
    case RestoreAction::kRemove:
      return "remove";
    case RestoreAction::kPrepare:
      return "prepare";
    case RestoreAction::kFetchImage:
      return "fetch_image";
    case RestoreAction::kStart:
      return "start";
    case RestoreAction::kAdopt:
      return "adopt";
    case RestoreAction::kReport:
      return "report";
    case RestoreAction::kVanished:
      return "vanished";
  }
  return "unknown";
}

RestoreAction DecideRestore(const record::TaskRecord& record,
                            const std::optional<ContainerStatus>& container) {
  if (record.is_removing()) return RestoreAction::kRemove;
  const v1::TaskState state = record.status().state();
  if (state == v1::TASK_STATE_TERMINATED) return RestoreAction::kKeep;
  // The container tells more than the record, which may be the predecessor of a damaged one.
  if (container) return DecideByContainer(*container);
  switch (state) {
    case v1::TASK_STATE_PENDING:
    case v1::TASK_STATE_PREPARING:
      return RestoreAction::kPrepare;
    case v1::TASK_STATE_PULLING:
      return RestoreAction::kFetchImage;
    case v1::TASK_STATE_CREATING:
      // With an id in the record the container was there. It may have been started, and a command
      // starts at most once, so that it is not made again.
      return record.status().container_id().empty() ? RestoreAction::kFetchImage
                                                    : RestoreAction::kVanished;
    default:
      return RestoreAction::kVanished;
  }
}

}  // namespace dstack::shim
