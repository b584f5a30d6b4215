// Rules of documents other than runs and fleets. Internal to the validators of this library; each
// adds to `violations` what it finds.
#pragma once

#include "dstack/config/v1/gateway.pb.h"
#include "dstack/config/v1/preset.pb.h"
#include "dstack/config/v1/server.pb.h"
#include "dstack/config/v1/template.pb.h"
#include "dstack/config/v1/volume.pb.h"

#include "libs/config/violations.h"

namespace dstack::config {

void CheckGatewayRules(const v1::GatewayConfiguration& gateway, Violations* violations);
void CheckVolumeRules(const v1::VolumeConfiguration& volume, Violations* violations);
void CheckPresetRules(const v1::PresetConfiguration& preset, Violations* violations);
void CheckTemplateRules(const v1::TemplateConfiguration& form, Violations* violations);
void CheckServerConfigRules(const v1::ServerConfig& config, Violations* violations);

}  // namespace dstack::config
