#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "dstack/api/v1/fleet.pb.h"
#include "dstack/api/v1/instance.pb.h"
#include "dstack/api/v1/project.pb.h"
#include "dstack/api/v1/run.pb.h"
#include "dstack/api/v1/user.pb.h"

#include "services/server/domain/fleet/fleet.h"
#include "services/server/domain/instance/instance.h"
#include "services/server/domain/proto_time.h"
#include "services/server/ports/identity_store.h"
#include "services/server/ports/run_store.h"
#include "services/server/usecases/fleet_usecases.h"
#include "services/server/usecases/run_usecases.h"

// What the API shows of the domain. Pure. No function lets a secret out: private keys are not part
// of any of these messages.
namespace dstack::server {

// Public host key of a job's sshd; empty when it is not known.
using HostKeyOf = std::function<std::string(const JobId&)>;

// What a run's message shows besides the run. The function outlives the view.
struct RunView {
  TimePoint now;
  const HostKeyOf& host_key_of;
};

api::v1::Run ToProto(const RunAndJobs& run, const RunView& view);
api::v1::RunPlan ToProto(const RunProposal& proposal,
                         const Project& project,
                         const std::string& user_name,
                         const RunView& view);
api::v1::Instance ToProto(const Instance& instance);
api::v1::Fleet ToProto(const Fleet& fleet);
api::v1::FleetPlan ToProto(const FleetProposal& proposal,
                           const Project& project,
                           const std::string& user_name);
api::v1::Project ToProto(const Project& project);
api::v1::User ToProto(const User& user);

// The page size to use: `fallback` for 0, never above `cap`.
std::uint32_t PageSize(std::uint32_t wanted, std::uint32_t fallback, std::uint32_t cap);

// Page tokens of lists that are ordered by name: the last name of the page, marked so that it
// cannot be mistaken for another list's.
std::string EncodeNameToken(const std::string& last_name);
absl::StatusOr<std::string> DecodeNameToken(const std::string& token);

}  // namespace dstack::server
