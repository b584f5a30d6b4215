// Stands in for NVIDIA's data center library of version 3 in tests. What it finds wrong stands in
// the file "dcgm" below $FAKE_NVML_DIR: "<card> <system> <health> <word>" a line.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <stdint.h>

#include "services/shim/gpu_probe/dcgm_abi.h"

namespace {

using dstack::gpu_probe::dcgm::Incident;
using dstack::gpu_probe::dcgm::kEntityGpu;
using dstack::gpu_probe::dcgm::kOk;
using dstack::gpu_probe::dcgm::kVersionMismatch;
using dstack::gpu_probe::dcgm::VersionWord;
using Response = dstack::gpu_probe::dcgm::ResponseV4;

constexpr unsigned kVersion = 4;

}  // namespace

extern "C" {
// NOLINTBEGIN(readability-identifier-naming): the names are the library's

int dcgmInit() { return kOk; }

int dcgmStartEmbedded(int, uintptr_t* handle) {
  *handle = 1;
  return kOk;
}

int dcgmHealthSet(uintptr_t, uintptr_t, unsigned) { return kOk; }

int dcgmHealthCheck(uintptr_t, uintptr_t, Response* response) {
  if (response->version != VersionWord(sizeof(Response), kVersion)) return kVersionMismatch;
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
    incident.entity_group = kEntityGpu;
    response->incidents[response->count++] = incident;
  }
  std::fclose(file);
  return kOk;
}

// NOLINTEND(readability-identifier-naming)
}  // extern "C"
