#pragma once

// The parts of the binary interface of NVIDIA's management library (nvml.h) that are used here, for
// the program that opens the library and for the library's stand-in in tests.
namespace dstack::gpu_probe::nvml {

// nvmlReturn_t
inline constexpr int kSuccess = 0;
inline constexpr int kNotFound = 6;
inline constexpr int kTimeout = 10;
inline constexpr int kFunctionNotFound = 13;
inline constexpr int kGpuIsLost = 15;

// Bits of an event's type.
inline constexpr unsigned long long kSingleBitEcc = 0x1;
inline constexpr unsigned long long kDoubleBitEcc = 0x2;
inline constexpr unsigned long long kXid = 0x8;

// nvmlGpuTopologyLevel_t: what two cards have in common on the way to each other.
inline constexpr int kLevelMultipleSwitches = 20;
inline constexpr int kLevelHostBridge = 30;
inline constexpr int kLevelNode = 40;

// Bytes.
struct Memory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned device_id;
  unsigned subsystem_id;
  char bus_id[32];
};

// Percent.
struct Utilization {
  unsigned gpu;
  unsigned memory;
};

struct EventData {
  void* device;
  unsigned long long type;
  unsigned long long data;
  unsigned gpu_instance;
  unsigned compute_instance;
};

}  // namespace dstack::gpu_probe::nvml
