// What a configuration means where it says nothing, and what profiles and flags add to it.
#pragma once

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/gateway.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/run.pb.h"
#include "dstack/config/v1/volume.pb.h"

#include "libs/config/document.h"

namespace dstack::config {

// Fills what can be filled without knowing the server: resources (`cpu 2..`, `memory 8GB..`, `disk
// 100GB..`, `gpu 0..`), the vendor of GPUs where names or the default image tell it, names and
// sizes of groups, priority, nodes, replicas, paths and probe values. Scheduling parameters stay
// unset, so that a profile can still be merged. Idempotent.
void ApplyDefaults(v1::RunConfiguration* run);

// `nodes.target`, `blocks`, and resources where the block is present.
void ApplyDefaults(v1::FleetConfiguration* fleet);

// A public address and a certificate of Let's Encrypt.
void ApplyDefaults(v1::GatewayConfiguration* gateway);

// Access modes of a claim.
void ApplyDefaults(v1::VolumeConfiguration* volume);

// Those of its type; presets and templates have none that must be written out.
void ApplyDefaults(Configuration* configuration);

// `has_default_image`: neither `image` nor `docker`; unnamed GPUs are then NVIDIA's.
void ApplyResourceDefaults(bool has_default_image, v1::Resources* resources);

// Takes from the profile what the configuration leaves unset. Whole values: lists, tags and retry
// are never combined, and an empty list in the configuration counts as set.
void MergeProfile(const v1::ProfileParams& profile, v1::RunConfiguration* run);

// The same for a fleet, of the parameters that fleets have. Fleets reached over SSH have none.
void MergeProfile(const v1::ProfileParams& profile, v1::FleetConfiguration* fleet);

}  // namespace dstack::config
