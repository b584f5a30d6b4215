#include "libs/config/validate.h"

#include "libs/config/document_rules.h"
#include "libs/config/problem.h"
#include "libs/config/run_rules.h"
#include "libs/config/violations.h"

namespace dstack::config {

namespace {

template <typename Configuration>
void CheckResolvedEnv(const Configuration& configuration, Violations* violations) {
  for (int i = 0; i < configuration.env_size(); ++i) {
    if (configuration.env(i).has_value()) continue;
    violations->Add(ItemPath("env", static_cast<size_t>(i)), "must have a value");
  }
}

}  // namespace

std::vector<base::FieldViolation> FindRunViolations(const v1::RunConfiguration& run) {
  Violations violations;
  CheckFieldRules(run, "", &violations);
  CheckRunRules(run, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindFleetViolations(const v1::FleetConfiguration& fleet) {
  Violations violations;
  CheckFieldRules(fleet, "", &violations);
  CheckFleetRules(fleet, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindGatewayViolations(const v1::GatewayConfiguration& gateway) {
  Violations violations;
  CheckFieldRules(gateway, "", &violations);
  CheckGatewayRules(gateway, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindVolumeViolations(const v1::VolumeConfiguration& volume) {
  Violations violations;
  CheckFieldRules(volume, "", &violations);
  CheckVolumeRules(volume, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindPresetViolations(const v1::PresetConfiguration& preset) {
  Violations violations;
  CheckFieldRules(preset, "", &violations);
  CheckPresetRules(preset, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindTemplateViolations(const v1::TemplateConfiguration& form) {
  Violations violations;
  CheckFieldRules(form, "", &violations);
  CheckTemplateRules(form, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindServerConfigViolations(const v1::ServerConfig& config) {
  Violations violations;
  CheckFieldRules(config, "", &violations);
  CheckServerConfigRules(config, &violations);
  return violations.Take();
}

std::vector<base::FieldViolation> FindProfileViolations(const v1::ProfileParams& params) {
  Violations violations;
  CheckFieldRules(params, "", &violations);
  CheckProfileRules(params, &violations);
  return violations.Take();
}

absl::Status ValidateRun(const v1::RunConfiguration& run) {
  return base::InvalidFields(FindRunViolations(run));
}

absl::Status ValidateFleet(const v1::FleetConfiguration& fleet) {
  return base::InvalidFields(FindFleetViolations(fleet));
}

absl::Status ValidateSubmittedRun(const v1::RunConfiguration& run) {
  Violations violations;
  CheckFieldRules(run, "", &violations);
  CheckRunRules(run, &violations);
  CheckResolvedEnv(run, &violations);
  return base::InvalidFields(violations.Take());
}

absl::Status ValidateSubmittedFleet(const v1::FleetConfiguration& fleet) {
  Violations violations;
  CheckFieldRules(fleet, "", &violations);
  CheckFleetRules(fleet, &violations);
  CheckSubmittedHosts(fleet, &violations);
  CheckResolvedEnv(fleet, &violations);
  return base::InvalidFields(violations.Take());
}

}  // namespace dstack::config
