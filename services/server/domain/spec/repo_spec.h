#pragma once

#include <vector>

#include "dstack/api/v1/run.pb.h"
#include "dstack/runner/v1/job.pb.h"

#include "libs/base/status.h"

namespace dstack::server {

// Makes RunSpec.repo agree with the configuration's `repos`: filled from an address in the document
// where the client sent nothing, with its id. Adds what is wrong to `violations`.
void FillRepo(api::v1::RunSpec* spec, std::vector<base::FieldViolation>* violations);

// The repository of an effective spec for the runner; nothing where there is none.
void AddRepo(const api::v1::RunSpec& effective_spec, runner::v1::JobSpec* job);

}  // namespace dstack::server
