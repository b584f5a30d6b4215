#include "services/shim/gpu_probe/nvml.h"

#include <dlfcn.h>
#include <unistd.h>

#include "services/shim/gpu_probe/json_line.h"
#include "services/shim/gpu_probe/nvml_abi.h"

namespace dstack::gpu_probe {
namespace {

using nvml::EventData;
using nvml::kDoubleBitEcc;
using nvml::kFunctionNotFound;
using nvml::kGpuIsLost;
using nvml::kLevelHostBridge;
using nvml::kLevelMultipleSwitches;
using nvml::kLevelNode;
using nvml::kSingleBitEcc;
using nvml::kSuccess;
using nvml::kTimeout;
using nvml::kXid;
using nvml::Memory;
using nvml::PciInfo;
using nvml::Utilization;

constexpr unsigned kMaxNvLinks = 18;
constexpr unsigned kP2pNvLink = 2;
constexpr int kP2pOk = 0;

const char* KindOf(int level) {
  if (level <= kLevelMultipleSwitches) return "pci_switch";
  if (level <= kLevelHostBridge) return "host_bridge";
  return level <= kLevelNode ? "numa_node" : "system";
}

}  // namespace

template <typename... Args>
int Nvml::Call(const char* name, Args... args) const {
  void* symbol = ::dlsym(library_, name);
  if (symbol == nullptr) return kFunctionNotFound;
  return reinterpret_cast<int (*)(Args...)>(symbol)(args...);
}

bool Nvml::Open(const std::string& library, std::string* error) {
  library_ = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    *error = ::dlerror();
    return false;
  }
  if (const int result = Call("nvmlInit_v2"); result != kSuccess) {
    *error = "nvmlInit_v2 failed with " + std::to_string(result);
    return false;
  }
  unsigned count = 0;
  if (Call("nvmlDeviceGetCount_v2", &count) != kSuccess) count = 0;
  for (unsigned i = 0; i < count; ++i) {
    Card card;
    char uuid[96] = {};
    PciInfo pci = {};
    // A card that is there but does not answer has no identity to be reported by.
    if (Call("nvmlDeviceGetHandleByIndex_v2", i, &card.handle) != kSuccess) continue;
    if (Call("nvmlDeviceGetUUID", card.handle, uuid, unsigned{sizeof(uuid)}) != kSuccess) continue;
    if (Call("nvmlDeviceGetPciInfo_v3", card.handle, &pci) == kSuccess) card.pci = pci.bus_id;
    card.uuid = uuid;
    cards_.push_back(card);
  }
  return true;
}

std::string Nvml::UuidOf(std::size_t index) const {
  return index < cards_.size() ? cards_[index].uuid : "";
}

void Nvml::PrintFacts() {
  char driver[96] = {};
  Call("nvmlSystemGetDriverVersion", driver, unsigned{sizeof(driver)});
  JsonList cards;
  JsonList links;
  for (std::size_t i = 0; i < cards_.size(); ++i) {
    const Card& card = cards_[i];
    char name[96] = {};
    Memory memory = {};
    unsigned current = 0;
    unsigned pending = 0;
    Call("nvmlDeviceGetName", card.handle, name, unsigned{sizeof(name)});
    Call("nvmlDeviceGetMemoryInfo", card.handle, &memory);
    const bool is_divided =
        Call("nvmlDeviceGetMigMode", card.handle, &current, &pending) == kSuccess && current == 1;
    JsonLine line;
    line.Text("uuid", card.uuid).Text("name", name).Text("pci", card.pci);
    line.Number("memory", memory.total);
    if (is_divided) line.Raw("slices", SlicesOf(card));
    cards.Add(line.Take());
    for (std::size_t j = i + 1; j < cards_.size(); ++j) {
      if (const std::string link = LinkBetween(i, j); !link.empty()) links.Add(link);
    }
  }
  PrintLine(JsonLine()
                .Text("type", "facts")
                .Text("driver", driver)
                .Raw("gpus", cards.Take())
                .Raw("links", links.Take())
                .Take());
}

std::string Nvml::SlicesOf(const Card& card) const {
  JsonList slices;
  unsigned count = 0;
  if (Call("nvmlDeviceGetMaxMigDeviceCount", card.handle, &count) != kSuccess) count = 0;
  for (unsigned i = 0; i < count; ++i) {
    Handle handle = nullptr;
    char uuid[96] = {};
    char name[96] = {};
    Memory memory = {};
    if (Call("nvmlDeviceGetMigDeviceHandleByIndex", card.handle, i, &handle) != kSuccess) continue;
    if (Call("nvmlDeviceGetUUID", handle, uuid, unsigned{sizeof(uuid)}) != kSuccess) continue;
    Call("nvmlDeviceGetName", handle, name, unsigned{sizeof(name)});
    Call("nvmlDeviceGetMemoryInfo", handle, &memory);
    JsonLine line;
    line.Text("uuid", uuid).Text("name", name).Number("memory", memory.total);
    slices.Add(line.Take());
  }
  return slices.Take();
}

unsigned Nvml::LanesBetween(const Card& first, const Card& second) const {
  unsigned lanes = 0;
  for (unsigned link = 0; link < kMaxNvLinks; ++link) {
    unsigned is_active = 0;
    PciInfo remote = {};
    if (Call("nvmlDeviceGetNvLinkState", first.handle, link, &is_active) != kSuccess) break;
    if (is_active == 0) continue;
    if (Call("nvmlDeviceGetNvLinkRemotePciInfo_v2", first.handle, link, &remote) != kSuccess)
      continue;
    if (second.pci == remote.bus_id) ++lanes;
  }
  return lanes;
}

std::string Nvml::LinkBetween(std::size_t first, std::size_t second) const {
  const Card& a = cards_[first];
  const Card& b = cards_[second];
  JsonLine line;
  line.Text("first", a.uuid).Text("second", b.uuid);
  const unsigned lanes = LanesBetween(a, b);
  int status = kP2pOk + 1;
  // Through a switch the other end of each link is the switch; the driver knows who is behind it.
  const bool is_direct =
      lanes > 0 ||
      (Call("nvmlDeviceGetP2PStatus", a.handle, b.handle, kP2pNvLink, &status) == kSuccess &&
       status == kP2pOk);
  if (is_direct) return line.Text("kind", "direct").Number("lanes", lanes).Take();
  int level = 0;
  if (Call("nvmlDeviceGetTopologyCommonAncestor", a.handle, b.handle, &level) != kSuccess)
    return "";
  return line.Text("kind", KindOf(level)).Take();
}

void Nvml::BeginEvents() {
  if (Call("nvmlEventSetCreate", &events_) != kSuccess) {
    events_ = nullptr;
    return;
  }
  for (const Card& card : cards_) {
    unsigned long long supported = 0;
    if (Call("nvmlDeviceGetSupportedEventTypes", card.handle, &supported) != kSuccess) continue;
    const unsigned long long wanted = supported & (kXid | kDoubleBitEcc | kSingleBitEcc);
    if (wanted != 0) Call("nvmlDeviceRegisterEvents", card.handle, wanted, events_);
  }
}

void Nvml::WaitEvent(unsigned timeout_ms) {
  EventData event = {};
  const int result = events_ == nullptr ? kFunctionNotFound
                                        : Call("nvmlEventSetWait_v2", events_, &event, timeout_ms);
  if (result != kSuccess) {
    // Anything but the time-out returned at once.
    if (result != kTimeout) ::usleep(timeout_ms * 1000);
    return;
  }
  const Card* card = Find(event.device);
  JsonLine line;
  line.Text("type", "event").Text("uuid", card != nullptr ? card->uuid : "");
  if (event.type == kXid) line.Text("source", "xid").Number("code", event.data);
  if (event.type == kDoubleBitEcc) line.Text("source", "ecc_double");
  if (event.type == kSingleBitEcc) line.Text("source", "ecc_single");
  PrintLine(line.Take());
}

void Nvml::PrintSample() {
  JsonList cards;
  for (Card& card : cards_) {
    if (card.is_lost) continue;
    Utilization usage = {};
    Memory memory = {};
    unsigned celsius = 0;
    unsigned milliwatts = 0;
    const int result = Call("nvmlDeviceGetMemoryInfo", card.handle, &memory);
    if (result == kGpuIsLost) {
      card.is_lost = true;
      PrintLine(JsonLine().Text("type", "lost").Text("uuid", card.uuid).Take());
      continue;
    }
    Call("nvmlDeviceGetUtilizationRates", card.handle, &usage);
    Call("nvmlDeviceGetTemperature", card.handle, 0, &celsius);
    Call("nvmlDeviceGetPowerUsage", card.handle, &milliwatts);
    JsonLine line;
    line.Text("uuid", card.uuid).Number("usage", usage.gpu).Number("memory_used", memory.used);
    line.Number("celsius", celsius).Decimal("watts", milliwatts / 1000.0);
    cards.Add(line.Take());
  }
  PrintLine(JsonLine().Text("type", "sample").Raw("gpus", cards.Take()).Take());
}

const Nvml::Card* Nvml::Find(Handle handle) const {
  for (const Card& card : cards_) {
    if (card.handle == handle) return &card;
  }
  return nullptr;
}

}  // namespace dstack::gpu_probe
