#pragma once

#include <string>

#include "dstack/api/v1/run.pb.h"
#include "dstack/common/v1/resources.pb.h"
#include "dstack/config/v1/resources.pb.h"

#include "services/server/domain/instance/instance.h"

namespace dstack::server {

// Each says why a host does not fit, in words that follow its name ("needs 2 GPUs, 1 free"); empty
// when it fits. Pure.

// fleets, instances, backends, regions, instance_types and spot policy of the run.
std::string SelectorMismatch(const api::v1::RunSpec& spec, const Instance& instance);
// image, privileged and volumes against the host's runtime. A host whose runtime is not known yet
// fits.
std::string RuntimeMismatch(const config::v1::RunConfiguration& configuration,
                            const Instance& instance);
// Processors, memory, accelerators and disk. Bounds are inclusive; an absent bound never rejects.
std::string ResourceMismatch(const config::v1::Resources& wanted,
                             const common::v1::Resources& have);

}  // namespace dstack::server
