#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dstack/common/v1/resources.pb.h"

namespace dstack::shim {

// Something wrong with a card.
struct DeviceIncident {
  std::string uuid;    // empty: none in particular
  std::string system;  // "memory", "PCIe", ...
  common::v1::HealthStatus health = common::v1::HEALTH_STATUS_WARNING;
  std::string message;

  bool operator==(const DeviceIncident&) const = default;
};

// What an XID of NVIDIA's driver says about the card. Those that a program's own mistake causes say
// nothing (HEALTHY): the list follows the maker's catalogue of XIDs.
common::v1::HealthStatus HealthOfXid(std::uint64_t xid);

// What a device's health is kept under: the UUID of its card, or the device's own id without one.
const std::string& CardOf(const common::v1::Gpu& gpu);

// Health of all cards, put together from the driver's errors, which last until the next boot, and
// from a watcher's findings, which it takes back itself. Keys are those of CardOf(). Not
// thread-safe.
class DeviceHealth {
 public:
  // Each returns whether anything changed.
  bool OnXid(const std::string& uuid, std::uint64_t xid);
  bool OnDoubleBitError(const std::string& uuid);
  bool OnLost(const std::string& uuid);
  // The card was asked anew and has answered: it is not lost, whatever else is wrong with it.
  bool OnFound(const std::string& uuid);
  // Replaces the earlier findings; those about no card in particular are ignored.
  bool OnFindings(const std::vector<DeviceIncident>& incidents);
  // Somebody watches this card from now on: it is HEALTHY in place of unknown.
  bool OnWatched(const std::string& uuid);

  // Takes over what FillLasting() wrote in an earlier process.
  void Recall(const common::v1::Gpu& gpu);

  // Writes status and message into the device; a slice has those of its card. Leaves cards alone
  // that nobody watches.
  void Fill(common::v1::Gpu* gpu) const;
  // The same without a watcher's findings.
  void FillLasting(common::v1::Gpu* gpu) const;

 private:
  struct State {
    std::map<std::string, DeviceIncident> lasting;  // by cause
    std::vector<DeviceIncident> findings;

    bool operator==(const State&) const = default;
  };

  void FillFrom(const State& state, bool with_findings, common::v1::Gpu* gpu) const;
  bool AddLasting(const std::string& uuid,
                  const std::string& cause,
                  const DeviceIncident& incident);

  std::map<std::string, State> cards_;
};

}  // namespace dstack::shim
