#include "tests/bench/config/peak_memory.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace {

// Of one thread: nothing else allocates here.
size_t live_bytes = 0;
size_t peak_bytes = 0;

}  // namespace

void* operator new(size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  live_bytes += malloc_usable_size(memory);
  peak_bytes = std::max(peak_bytes, live_bytes);
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  // What others allocated without the operator above is not counted.
  live_bytes -= std::min(live_bytes, malloc_usable_size(memory));
  std::free(memory);
}

void operator delete(void* memory, size_t /*size*/) noexcept { operator delete(memory); }

namespace dstack::bench {

PeakMemory::PeakMemory() : before_(live_bytes) { peak_bytes = live_bytes; }

size_t PeakMemory::bytes() const { return peak_bytes - before_; }

}  // namespace dstack::bench
