// Rules that concern more than one field. Internal to the validators of this library; each adds to
// `violations` what it finds.
#pragma once

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "libs/config/violations.h"

namespace dstack::config {

void CheckRunRules(const v1::RunConfiguration& run, Violations* violations);
void CheckServiceRules(const v1::RunConfiguration& run, Violations* violations);
void CheckFleetRules(const v1::FleetConfiguration& fleet, Violations* violations);
void CheckSubmittedHosts(const v1::FleetConfiguration& fleet, Violations* violations);
void CheckProfileRules(const v1::ProfileParams& params, Violations* violations);

}  // namespace dstack::config
