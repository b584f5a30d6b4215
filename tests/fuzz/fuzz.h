// What a fuzzer implements. tests/fuzz/README.md says how to add one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// One input. Returns 0; anything wrong ends the process (FUZZ_CHECK, a sanitizer, a signal). Must
// not keep anything from one call to the next.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace dstack::fuzz {

// The bytes of an input as text.
inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the process with a message; see FUZZ_CHECK.
[[noreturn]] void Fail(const char* file, int line, const char* what);

// Ends the process when the input between construction and destruction took more than 100 ms of
// processor time (ten times that, for the instrumentation) or 64 MB of memory at once. Does nothing
// in replays.
class Measured {
 public:
  Measured();
  ~Measured();
  Measured(const Measured&) = delete;
  Measured& operator=(const Measured&) = delete;

 private:
  [[maybe_unused]] double start_seconds_ = 0;
  [[maybe_unused]] int64_t start_bytes_ = 0;
};

}  // namespace dstack::fuzz

// A property that holds for every input.
#define FUZZ_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::dstack::fuzz::Fail(__FILE__, __LINE__, #condition))
