#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace dstack::gpu_probe {

// NVIDIA's data center library with an engine of its own inside this process: it watches all cards
// in the background. Absent on most hosts. Not thread-safe.
class Dcgm {
 public:
  // Opens `library` and switches all watches on. False: `error` says why.
  bool Open(const std::string& library, std::string* error);

  // Prints {"type":"health", ...} when the answer differs from the last one. `uuid_of` names the
  // card with an index.
  void Check(const std::function<std::string(std::size_t)>& uuid_of);

 private:
  void* Symbol(const char* name) const;

  void* library_ = nullptr;
  std::uintptr_t engine_ = 0;
  std::string last_;
};

}  // namespace dstack::gpu_probe
