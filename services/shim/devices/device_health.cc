#include "services/shim/devices/device_health.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace dstack::shim {
namespace {

using common::v1::HEALTH_STATUS_FAILURE;
using common::v1::HEALTH_STATUS_HEALTHY;
using common::v1::HEALTH_STATUS_WARNING;
using common::v1::HealthStatus;

constexpr std::size_t kMaxMessageBytes = 512;

// Causes of what lasts.
constexpr char kLost[] = "lost";
constexpr char kEarlier[] = "earlier";
constexpr char kLostSystem[] = "PCIe";
constexpr char kLostMessage[] = "the card does not answer any more";

std::string_view XidName(std::uint64_t xid) {
  switch (xid) {
    case 48:
      return "double-bit memory error";
    case 63:
      return "a row of memory is to be replaced";
    case 64:
      return "a row of memory could not be replaced";
    case 74:
      return "NVLink error";
    case 79:
      return "the card has fallen off the bus";
    case 92:
      return "many corrected memory errors";
    case 94:
      return "contained memory error";
    case 95:
      return "uncontained memory error";
    case 119:
    case 120:
      return "the card's system processor does not answer";
    default:
      return "hardware error";
  }
}

}  // namespace

const std::string& CardOf(const common::v1::Gpu& gpu) {
  if (!gpu.parent_uuid().empty()) return gpu.parent_uuid();
  return gpu.uuid().empty() ? gpu.resource_id() : gpu.uuid();
}

HealthStatus HealthOfXid(std::uint64_t xid) {
  switch (xid) {
    case 48:
    case 62:
    case 64:
    case 74:
    case 79:
    case 95:
    case 109:
    case 110:
    case 119:
    case 120:
    case 136:
    case 140:
    case 143:
    case 151:
    case 154:
    case 155:
    case 156:
    case 158:
      return HEALTH_STATUS_FAILURE;
    case 63:
    case 92:
    case 94:
    case 121:
    case 149:
      return HEALTH_STATUS_WARNING;
    default:
      return HEALTH_STATUS_HEALTHY;
  }
}

bool DeviceHealth::AddLasting(const std::string& uuid,
                              const std::string& cause,
                              const DeviceIncident& incident) {
  if (uuid.empty()) return false;
  return cards_[uuid].lasting.try_emplace(cause, incident).second;
}

bool DeviceHealth::OnXid(const std::string& uuid, std::uint64_t xid) {
  const HealthStatus health = HealthOfXid(xid);
  if (health == HEALTH_STATUS_HEALTHY) return false;
  return AddLasting(uuid,
                    fmt::format("xid {}", xid),
                    {.uuid = uuid,
                     .system = fmt::format("XID {}", xid),
                     .health = health,
                     .message = std::string(XidName(xid))});
}

bool DeviceHealth::OnDoubleBitError(const std::string& uuid) {
  return AddLasting(uuid,
                    "ecc",
                    {.uuid = uuid,
                     .system = "ECC",
                     .health = HEALTH_STATUS_FAILURE,
                     .message = "double-bit memory error"});
}

bool DeviceHealth::OnLost(const std::string& uuid) {
  return AddLasting(uuid,
                    kLost,
                    {.uuid = uuid,
                     .system = kLostSystem,
                     .health = HEALTH_STATUS_FAILURE,
                     .message = kLostMessage});
}

bool DeviceHealth::OnFound(const std::string& uuid) {
  const auto card = cards_.find(uuid);
  if (card == cards_.end()) return false;
  auto& lasting = card->second.lasting;
  if (lasting.erase(kLost) > 0) return true;
  // Nothing but the loss was written down in the earlier process.
  const auto earlier = lasting.find(kEarlier);
  if (earlier == lasting.end() ||
      earlier->second.message != fmt::format("{}: {}", kLostSystem, kLostMessage)) {
    return false;
  }
  lasting.erase(earlier);
  return true;
}

bool DeviceHealth::OnFindings(const std::vector<DeviceIncident>& incidents) {
  const auto before = cards_;
  for (auto& [uuid, state] : cards_) state.findings.clear();
  for (const DeviceIncident& incident : incidents) {
    if (!incident.uuid.empty()) cards_[incident.uuid].findings.push_back(incident);
  }
  return cards_ != before;
}

bool DeviceHealth::OnWatched(const std::string& uuid) { return cards_.try_emplace(uuid).second; }

void DeviceHealth::Recall(const common::v1::Gpu& gpu) {
  if (gpu.health() < HEALTH_STATUS_WARNING) return;
  AddLasting(CardOf(gpu),
             kEarlier,
             {.uuid = CardOf(gpu), .health = gpu.health(), .message = gpu.health_message()});
}

void DeviceHealth::Fill(common::v1::Gpu* gpu) const {
  const auto card = cards_.find(CardOf(*gpu));
  if (card != cards_.end()) FillFrom(card->second, /*with_findings=*/true, gpu);
}

void DeviceHealth::FillLasting(common::v1::Gpu* gpu) const {
  const auto card = cards_.find(CardOf(*gpu));
  if (card != cards_.end()) FillFrom(card->second, /*with_findings=*/false, gpu);
}

void DeviceHealth::FillFrom(const State& state, bool with_findings, common::v1::Gpu* gpu) const {
  HealthStatus worst = HEALTH_STATUS_HEALTHY;
  std::string text;
  const auto add = [&](const DeviceIncident& incident) {
    worst = std::max(worst, incident.health);
    if (!text.empty()) text += "; ";
    if (!incident.system.empty()) text += incident.system + ": ";
    text += incident.message;
  };
  for (const auto& [cause, incident] : state.lasting) add(incident);
  if (with_findings) {
    for (const DeviceIncident& incident : state.findings) add(incident);
  }
  gpu->set_health(worst);
  gpu->set_health_message(text.substr(0, kMaxMessageBytes));
}

}  // namespace dstack::shim
