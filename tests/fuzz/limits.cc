// Limits on one input of a fuzzer: processor time and memory. Linked into the libFuzzer programs
// alone; in a replay they would only measure the machine.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <sanitizer/allocator_interface.h>

#include "tests/fuzz/fuzz.h"

namespace dstack::fuzz {

namespace {

// Signed: what was allocated before the hooks is released after them.
std::atomic<int64_t> live_bytes = 0;
std::atomic<int64_t> peak_bytes = 0;

void OnAllocation(const volatile void* /*pointer*/, size_t size) {
  const auto bytes = static_cast<int64_t>(size);
  const int64_t live = live_bytes.fetch_add(bytes) + bytes;
  int64_t peak = peak_bytes.load();
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
}

void OnRelease(const volatile void* pointer) {
  if (pointer == nullptr) return;
  const size_t size = __sanitizer_get_allocated_size(const_cast<const void*>(pointer));
  live_bytes.fetch_sub(static_cast<int64_t>(size));
}

double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// An input may take 100 ms; instrumented code at -O1 takes ten times as long.
constexpr double kMaxSeconds = 0.1 * 10;
constexpr int64_t kMaxBytes = int64_t{64} << 20;

}  // namespace

Measured::Measured() {
  static const bool is_installed =
      __sanitizer_install_malloc_and_free_hooks(OnAllocation, OnRelease) != 0;
  static_cast<void>(is_installed);
  start_bytes_ = live_bytes.load();
  peak_bytes.store(start_bytes_);
  start_seconds_ = ProcessorSeconds();
}

Measured::~Measured() {
  const double seconds = ProcessorSeconds() - start_seconds_;
  const int64_t bytes = peak_bytes.load() - start_bytes_;
  if (seconds <= kMaxSeconds && bytes <= kMaxBytes) return;
  std::fprintf(
      stderr, "one input took %.3f s and %lld bytes\n", seconds, static_cast<long long>(bytes));
  Fail(__FILE__, __LINE__, "the limits of one input");
}

}  // namespace dstack::fuzz
