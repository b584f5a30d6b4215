#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "services/shim/devices/device_tools.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// A card as nvidia-smi lists it.
struct SmiCard {
  common::v1::Gpu gpu;
  bool is_partitioned = false;  // MIG is on: the card itself cannot be given away
};

// Reads the answer of
//   nvidia-smi --query-gpu=name,memory.total,uuid,driver_version,pci.bus_id[,mig.mode.current]
//              --format=csv,noheader,nounits
// A row with another number of fields or without a UUID ends the list, as does one that is cut off;
// memory that is no number counts as 0.
std::vector<SmiCard> ParseNvidiaSmi(std::string_view csv);

// A slice of a card.
struct SmiSlice {
  std::string profile;  // "3g.20gb"
  std::string uuid;     // "MIG-..."
};

// Reads the slices from `nvidia-smi -L`, by the UUID of their card.
std::map<std::string, std::vector<SmiSlice>> ParseSmiSlices(std::string_view listing);

// Cards as they are, and slices in place of cards that are divided. A slice's memory is that of its
// profile's name.
std::vector<common::v1::Gpu> ReplaceBySlices(
    const std::vector<SmiCard>& cards, const std::map<std::string, std::vector<SmiSlice>>& slices);

// Asks the tool. Links are not told by it.
absl::StatusOr<DeviceList> AskNvidiaSmi(const DeviceTools& tools, const std::stop_token& stop);

}  // namespace dstack::shim
