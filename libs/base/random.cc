#include "libs/base/random.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/random.h>

namespace dstack::base {
namespace {

std::uint64_t KernelSeed() {
  const std::string bytes = SecureRandomBytes(sizeof(std::uint64_t));
  std::uint64_t seed = 0;
  std::memcpy(&seed, bytes.data(), sizeof(seed));
  return seed;
}

}  // namespace

SeededRandom::SeededRandom() : SeededRandom(KernelSeed()) {}

SeededRandom::SeededRandom(std::uint64_t seed) : engine_(seed) {}

double SeededRandom::Uniform() {
  std::lock_guard lock(mutex_);
  return std::uniform_real_distribution<double>(0.0, 1.0)(engine_);
}

std::string SecureRandomBytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::size_t filled = 0;
  while (filled < count) {
    const ssize_t n = getrandom(bytes.data() + filled, count - filled, 0);
    if (n < 0 && errno == EINTR) continue;
    // The call has no other failure on a valid buffer; going on without randomness is worse.
    if (n < 0) std::abort();
    filled += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace dstack::base
