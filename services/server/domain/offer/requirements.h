#pragma once

#include "dstack/api/v1/run.pb.h"
#include "dstack/config/v1/resources.pb.h"

#include "services/server/domain/instance/instance.h"
#include "services/server/domain/offer/blocks.h"
#include "services/server/domain/offer/why.h"

namespace dstack::server {

// What a run asks of a host, one question after the other. Each answers whether the host will do
// and tells `why` it will not ("needs 2 GPUs, has 1"). Pure.

// fleets, instances, backends, regions, instance types and spot policy of the run. A host of an SSH
// fleet is of backend `remote`, in region `remote`, of type `instance` and no spot instance. It has
// no zone and costs nothing, which no zone and no price of a run excludes.
bool SelectorsAllow(const api::v1::RunSpec& spec, const Instance& instance, const Why& why);

// image, privileged and volumes against the host's runtime and architecture (the default image is
// for x86). A host whose runtime is not known yet will do.
bool RuntimeAllows(const config::v1::RunConfiguration& configuration,
                   const Instance& instance,
                   const Why& why);

// Processors, memory, accelerators and disk. Bounds are inclusive; an absent bound never refuses; a
// disk of unknown size never does. shm_size is no requirement.
bool ResourcesFit(const config::v1::Resources& wanted, const Share& have, const Why& why);

// Several nodes share no host with others: they take it whole.
bool NeedsWholeHost(const config::v1::RunConfiguration& configuration);

}  // namespace dstack::server
