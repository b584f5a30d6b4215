// Stands in for NVIDIA's library in tests: two cards joined by four links, and a divided one. It is
// driven by files below $FAKE_NVML_DIR: "xid" holds "<card> <number>" and is taken once, "lost"
// holds the number of a card that does not answer any more, "hang" makes the start block.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

#include "services/shim/gpu_probe/nvml_abi.h"

namespace {

using dstack::gpu_probe::nvml::EventData;
using dstack::gpu_probe::nvml::kGpuIsLost;
using dstack::gpu_probe::nvml::kNotFound;
using dstack::gpu_probe::nvml::kSuccess;
using dstack::gpu_probe::nvml::kTimeout;
using dstack::gpu_probe::nvml::kXid;
using dstack::gpu_probe::nvml::Memory;
using dstack::gpu_probe::nvml::PciInfo;
using dstack::gpu_probe::nvml::Utilization;

constexpr unsigned kCards = 3;
constexpr unsigned kDivided = 2;

struct Card {
  unsigned index;
};

Card cards[kCards] = {{0}, {1}, {2}};
Card slices[2] = {{10}, {11}};

std::string PathOf(const char* name) {
  const char* dir = std::getenv("FAKE_NVML_DIR");
  return std::string(dir == nullptr ? "/nowhere" : dir) + "/" + name;
}

bool IsLost(unsigned index) {
  std::FILE* file = std::fopen(PathOf("lost").c_str(), "r");
  unsigned lost = kCards;
  if (file == nullptr) return false;
  const bool is_read = std::fscanf(file, "%u", &lost) == 1;
  std::fclose(file);
  return is_read && lost == index;
}

unsigned IndexOf(const void* device) { return static_cast<const Card*>(device)->index; }

}  // namespace

extern "C" {
// NOLINTBEGIN(readability-identifier-naming): the names are the library's

int nvmlInit_v2() {
  while (::access(PathOf("hang").c_str(), F_OK) == 0) ::usleep(10'000);
  return kSuccess;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = kCards;
  return kSuccess;
}

int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "550.54.15");
  return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &cards[index];
  return kSuccess;
}

int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  const unsigned index = IndexOf(device);
  std::snprintf(text, size, index < kCards ? "GPU-%u" : "MIG-%u", index);
  return kSuccess;
}

int nvmlDeviceGetName(void* device, char* text, unsigned size) {
  const bool is_slice = IndexOf(device) >= kCards;
  std::snprintf(text, size, "NVIDIA H100 80GB HBM3%s", is_slice ? " MIG 3g.40gb" : "");
  return kSuccess;
}

int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  const unsigned index = IndexOf(device);
  if (IsLost(index)) return kGpuIsLost;
  memory->total = (index < kCards ? 80ULL : 40ULL) << 30;
  memory->used = 1ULL << 30;
  memory->free = memory->total - memory->used;
  return kSuccess;
}

int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* pci) {
  std::snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:0%u:00.0", IndexOf(device) + 1);
  return kSuccess;
}

int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  *current = *pending = IndexOf(device) == kDivided ? 1 : 0;
  return kSuccess;
}

int nvmlDeviceGetMaxMigDeviceCount(void*, unsigned* count) {
  *count = 7;
  return kSuccess;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void*, unsigned index, void** device) {
  if (index >= 2) return kNotFound;
  *device = &slices[index];
  return kSuccess;
}

int nvmlDeviceGetNvLinkState(void* device, unsigned link, unsigned* is_active) {
  *is_active = IndexOf(device) < kDivided && link < 4 ? 1 : 0;
  return kSuccess;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void* device, unsigned, PciInfo* pci) {
  return nvmlDeviceGetPciInfo_v3(&cards[1 - IndexOf(device)], pci);
}

int nvmlDeviceGetTopologyCommonAncestor(void*, void*, int* level) {
  *level = 40;
  return kSuccess;
}

int nvmlDeviceGetUtilizationRates(void* device, Utilization* rates) {
  rates->gpu = 50 + IndexOf(device);
  rates->memory = 10;
  return kSuccess;
}

int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) {
  *celsius = 45;
  return kSuccess;
}

int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 120'500;
  return kSuccess;
}

int nvmlEventSetCreate(void** set) {
  static int only;
  *set = &only;
  return kSuccess;
}

int nvmlDeviceGetSupportedEventTypes(void*, unsigned long long* types) {
  *types = 0xf;
  return kSuccess;
}

int nvmlDeviceRegisterEvents(void*, unsigned long long, void*) { return kSuccess; }

int nvmlEventSetWait_v2(void*, EventData* event, unsigned timeout_ms) {
  std::FILE* file = std::fopen(PathOf("xid").c_str(), "r");
  if (file == nullptr) {
    ::usleep(timeout_ms * 1000);
    return kTimeout;
  }
  unsigned card = 0;
  unsigned long long number = 0;
  const bool is_read = std::fscanf(file, "%u %llu", &card, &number) == 2;
  std::fclose(file);
  if (!is_read || card >= kCards) return kTimeout;
  ::unlink(PathOf("xid").c_str());
  event->device = &cards[card];
  event->type = kXid;
  event->data = number;
  return kSuccess;
}

// NOLINTEND(readability-identifier-naming)
}  // extern "C"
