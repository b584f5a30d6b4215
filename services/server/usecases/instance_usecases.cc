#include "services/server/usecases/instance_usecases.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "fmt/format.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"

namespace dstack::server {
namespace {

// As the shim takes it.
constexpr std::size_t kMaxReasonBytes = 256;

absl::Status CheckReason(const std::string& reason) {
  const bool has_control = std::any_of(reason.begin(), reason.end(), absl::ascii_iscntrl);
  if (!reason.empty() && reason.size() <= kMaxReasonBytes && !has_control) return absl::OkStatus();
  return base::InvalidField(
      "reason",
      fmt::format("must be 1 to {} bytes without control characters; it has {} bytes",
                  kMaxReasonBytes,
                  reason.size()));
}

}  // namespace

InstanceUseCases::InstanceUseCases(InstanceStore& instances, const base::Clock& clock)
    : instances_(instances), clock_(clock) {}

absl::StatusOr<Instance> InstanceUseCases::Find(const Project& project, const std::string& id) {
  const absl::Status absent = base::NotFound("INSTANCE_NOT_FOUND", "instance", id);
  if (!base::IsUuid(id)) return absent;
  auto instance = instances_.Load(InstanceId(id));
  if (absl::IsNotFound(instance.status())) return absent;
  if (instance.ok() && instance->project_id != project.id) return absent;
  return instance;
}

absl::StatusOr<Instance> InstanceUseCases::Drain(const rpc::Caller& caller,
                                                 const Project& project,
                                                 const std::string& id,
                                                 const std::string& reason) {
  RETURN_IF_ERROR(CheckReason(reason));
  ASSIGN_OR_RETURN(const Instance instance, Find(project, id));
  return instances_.SetDrain(instance.id, reason, UserId(caller.identity.user_id), clock_.Now());
}

absl::StatusOr<Instance> InstanceUseCases::LiftDrain(const rpc::Caller& caller,
                                                     const Project& project,
                                                     const std::string& id) {
  ASSIGN_OR_RETURN(const Instance instance, Find(project, id));
  return instances_.SetDrain(
      instance.id, std::nullopt, UserId(caller.identity.user_id), clock_.Now());
}

}  // namespace dstack::server
