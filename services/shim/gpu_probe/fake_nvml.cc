// Stands in for NVIDIA's library in tests: two cards joined by four links, and a divided one. It is
// driven by files below $FAKE_NVML_DIR: "xid" holds "<card> <number>" and is taken once, "lost"
// holds the number of a card that does not answer any more, "hang" makes the start block.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

namespace {

constexpr int kOk = 0;
constexpr int kNotFound = 6;
constexpr int kTimeout = 10;
constexpr int kLost = 15;
constexpr unsigned kCards = 3;
constexpr unsigned kDivided = 2;

struct Card {
  unsigned index;
};

Card cards[kCards] = {{0}, {1}, {2}};
Card slices[2] = {{10}, {11}};

struct Memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

struct PciInfo {
  char bus_id_legacy[16];
  unsigned numbers[5];
  char bus_id[32];
};

struct EventData {
  void* device;
  unsigned long long type;
  unsigned long long data;
  unsigned instances[2];
};

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

int nvmlInit_v2() {
  while (::access(PathOf("hang").c_str(), F_OK) == 0) ::usleep(10'000);
  return kOk;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = kCards;
  return kOk;
}

int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "550.54.15");
  return kOk;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &cards[index];
  return kOk;
}

int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  const unsigned index = IndexOf(device);
  std::snprintf(text, size, index < kCards ? "GPU-%u" : "MIG-%u", index);
  return kOk;
}

int nvmlDeviceGetName(void* device, char* text, unsigned size) {
  const bool is_slice = IndexOf(device) >= kCards;
  std::snprintf(text, size, "NVIDIA H100 80GB HBM3%s", is_slice ? " MIG 3g.40gb" : "");
  return kOk;
}

int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  const unsigned index = IndexOf(device);
  if (IsLost(index)) return kLost;
  memory->total = (index < kCards ? 80ULL : 40ULL) << 30;
  memory->used = 1ULL << 30;
  memory->free = memory->total - memory->used;
  return kOk;
}

int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* pci) {
  std::snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:0%u:00.0", IndexOf(device) + 1);
  return kOk;
}

int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  *current = *pending = IndexOf(device) == kDivided ? 1 : 0;
  return kOk;
}

int nvmlDeviceGetMaxMigDeviceCount(void*, unsigned* count) {
  *count = 7;
  return kOk;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void*, unsigned index, void** device) {
  if (index >= 2) return kNotFound;
  *device = &slices[index];
  return kOk;
}

int nvmlDeviceGetNvLinkState(void* device, unsigned link, unsigned* is_active) {
  *is_active = IndexOf(device) < kDivided && link < 4 ? 1 : 0;
  return kOk;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void* device, unsigned, PciInfo* pci) {
  return nvmlDeviceGetPciInfo_v3(&cards[1 - IndexOf(device)], pci);
}

int nvmlDeviceGetTopologyCommonAncestor(void*, void*, int* level) {
  *level = 40;
  return kOk;
}

int nvmlDeviceGetUtilizationRates(void* device, unsigned* rates) {
  rates[0] = 50 + IndexOf(device);
  rates[1] = 10;
  return kOk;
}

int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) {
  *celsius = 45;
  return kOk;
}

int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 120'500;
  return kOk;
}

int nvmlEventSetCreate(void** set) {
  static int only;
  *set = &only;
  return kOk;
}

int nvmlDeviceGetSupportedEventTypes(void*, unsigned long long* types) {
  *types = 0xf;
  return kOk;
}

int nvmlDeviceRegisterEvents(void*, unsigned long long, void*) { return kOk; }

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
  event->type = 0x8;
  event->data = number;
  return kOk;
}

}  // extern "C"
