#pragma once

#include <cstddef>

// The parts of the binary interface of NVIDIA's data center library (dcgm_structs.h) that are used
// here, for the program that opens the library and for the library's stand-in in tests.
namespace dstack::gpu_probe::dcgm {

// dcgmReturn_t
inline constexpr int kOk = 0;
inline constexpr int kVersionMismatch = -16;

// dcgmHealthWatchResult_t; 0 is healthy.
inline constexpr int kWarn = 10;
inline constexpr int kFail = 20;
// dcgm_field_entity_group_t
inline constexpr int kEntityGpu = 1;

struct Incident {
  int system;
  int health;
  char message[1024];
  unsigned code;
  int entity_group;
  unsigned entity;
};

template <std::size_t kMaxIncidents>
struct Response {
  unsigned version;
  int overall;
  unsigned count;
  Incident incidents[kMaxIncidents];
};

// Versions of the structure carry their own size: of DCGM 2 and 3, and of DCGM 4.
using ResponseV4 = Response<64>;
using ResponseV5 = Response<1024>;

constexpr unsigned VersionWord(std::size_t size, unsigned version) {
  return static_cast<unsigned>(size) | version << 24;
}

}  // namespace dstack::gpu_probe::dcgm
