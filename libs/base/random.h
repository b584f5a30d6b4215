#pragma once

#include <cstdint>
#include <mutex>
#include <random>
#include <string>

namespace dstack::base {

// Source of numbers that need not be secret: jitter, load spreading. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  // Uniform in [0, 1).
  virtual double Uniform() = 0;
};

// Mersenne twister. Without a seed it is seeded from the kernel.
class SeededRandom final : public Random {
 public:
  SeededRandom();
  explicit SeededRandom(std::uint64_t seed);
  double Uniform() override;

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

// Bytes for keys and tokens, from the kernel.
std::string SecureRandomBytes(std::size_t count);

}  // namespace dstack::base
