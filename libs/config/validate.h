// Whether a configuration makes sense. The same rules hold for documents that the client reads and
// for requests that the server gets. Pure functions; usable from any thread.
#pragma once

#include <vector>

#include <absl/status/status.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/gateway.pb.h"
#include "dstack/config/v1/preset.pb.h"
#include "dstack/config/v1/run.pb.h"
#include "dstack/config/v1/server.pb.h"
#include "dstack/config/v1/template.pb.h"
#include "dstack/config/v1/volume.pb.h"

#include "libs/base/status.h"

namespace dstack::config {

// Everything that is wrong, at most one entry per field. Paths are those of the user's file:
// `resources.gpu.count`, `ports[0].container_port`, `max_duration`.
std::vector<base::FieldViolation> FindRunViolations(const v1::RunConfiguration& run);
std::vector<base::FieldViolation> FindFleetViolations(const v1::FleetConfiguration& fleet);
std::vector<base::FieldViolation> FindGatewayViolations(const v1::GatewayConfiguration& gateway);
std::vector<base::FieldViolation> FindVolumeViolations(const v1::VolumeConfiguration& volume);
// What is needed to start the search is left to the one who starts it.
std::vector<base::FieldViolation> FindPresetViolations(const v1::PresetConfiguration& preset);
std::vector<base::FieldViolation> FindTemplateViolations(const v1::TemplateConfiguration& form);
std::vector<base::FieldViolation> FindServerConfigViolations(const v1::ServerConfig& config);
// Scheduling parameters on their own, as in a profile.
std::vector<base::FieldViolation> FindProfileViolations(const v1::ProfileParams& params);

// OK, or INVALID_ARGUMENT with all violations (base::InvalidFields). Variables without a value and
// hosts without a key pass: the client fills them in.
absl::Status ValidateRun(const v1::RunConfiguration& run);
absl::Status ValidateFleet(const v1::FleetConfiguration& fleet);

// What a configuration must have on top of that when it reaches the server: values for all
// variables, and for fleets a user and an unencrypted private key for each host.
absl::Status ValidateSubmittedRun(const v1::RunConfiguration& run);
absl::Status ValidateSubmittedFleet(const v1::FleetConfiguration& fleet);

}  // namespace dstack::config
