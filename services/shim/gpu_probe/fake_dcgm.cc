// Stands in for NVIDIA's data center library of version 3 in tests. What it finds wrong stands in
// the file "dcgm" below $FAKE_NVML_DIR: "<card> <system> <health> <word>" a line.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <stdint.h>

namespace {

constexpr int kOk = 0;
constexpr int kVersionMismatch = -16;
constexpr unsigned kVersion = 4;

struct Incident {
  int system;
  int health;
  char message[1024];
  unsigned code;
  int entity_group;
  unsigned entity;
};

struct Response {
  unsigned version;
  int overall;
  unsigned count;
  Incident incidents[64];
};

}  // namespace

extern "C" {

int dcgmInit() { return kOk; }

int dcgmStartEmbedded(int, uintptr_t* handle) {
  *handle = 1;
  return kOk;
}

int dcgmHealthSet(uintptr_t, uintptr_t, unsigned) { return kOk; }

int dcgmHealthCheck(uintptr_t, uintptr_t, Response* response) {
  if (response->version != (sizeof(Response) | kVersion << 24)) return kVersionMismatch;
  const char* dir = std::getenv("FAKE_NVML_DIR");
  std::FILE* file = std::fopen((std::string(dir == nullptr ? "" : dir) + "/dcgm").c_str(), "r");
  if (file == nullptr) return kOk;
  Incident incident = {};
  while (response->count < 64 && std::fscanf(file,
                                             "%u %i %d %1000s",
                                             &incident.entity,
                                             &incident.system,
                                             &incident.health,
                                             incident.message) == 4) {
    incident.entity_group = 1;
    response->incidents[response->count++] = incident;
  }
  std::fclose(file);
  return kOk;
}

}  // extern "C"
