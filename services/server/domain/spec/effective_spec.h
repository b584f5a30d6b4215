#pragma once

#include "dstack/api/v1/run.pb.h"

#include "absl/status/statusor.h"

namespace dstack::server {

// Checks a spec as a client sent it and fills in all defaults (name rule, profile merged under the
// configuration, resource defaults). INVALID_ARGUMENT/INVALID_FIELDS lists every wrong field with
// its path in the user's document, also fields that are right but that this version cannot honour:
// nothing that a user writes is ignored in silence.
absl::StatusOr<api::v1::RunSpec> EffectiveSpec(const api::v1::RunSpec& spec);

}  // namespace dstack::server
