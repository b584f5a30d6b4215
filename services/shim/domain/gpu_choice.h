#pragma once

#include <cstddef>
#include <vector>

#include "dstack/common/v1/resources.pb.h"
#include "dstack/shim/v1/host.pb.h"

namespace dstack::shim {

// Picks `count` of the free devices, as indices into `free` in ascending order: of one maker and
// model where possible, those that reach each other best, and among equals those whose loss hurts
// the rest least, so that well linked groups stay whole. Without links the first ones. `count` is
// at most the number of free devices. Pure.
std::vector<std::size_t> PickDevices(const std::vector<common::v1::Gpu>& free,
                                     const std::vector<v1::GpuLink>& links,
                                     std::size_t count);

}  // namespace dstack::shim
