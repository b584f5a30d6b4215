#pragma once

#include <ostream>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace dstack::base {

// Text that must not be shown. It prints as "***"; the bytes come out only through Reveal(), which
// is easy to search for. The memory is overwritten when the object goes.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret& other) {
    if (this != &other) {
      Wipe();
      value_ = other.value_;
    }
    return *this;
  }
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { other.Wipe(); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      Wipe();
      value_ = std::move(other.value_);
      other.Wipe();
    }
    return *this;
  }
  ~Secret() { Wipe(); }

  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }

  // Equal bytes. Takes the same time wherever they differ; only the length shows.
  friend bool operator==(const Secret& a, const Secret& b) {
    if (a.value_.size() != b.value_.size()) return false;
    unsigned difference = 0;
    for (std::size_t i = 0; i < a.value_.size(); ++i) {
      difference |= static_cast<unsigned char>(a.value_[i] ^ b.value_[i]);
    }
    return difference == 0;
  }
  friend std::ostream& operator<<(std::ostream& out, const Secret&) { return out << "***"; }

 private:
  void Wipe() noexcept {
    // volatile: a plain memset before the end of life is removed by the optimiser.
    volatile char* bytes = value_.data();
    for (std::size_t i = 0; i < value_.size(); ++i) bytes[i] = 0;
    value_.clear();
  }

  std::string value_;
};

}  // namespace dstack::base

template <>
struct fmt::formatter<dstack::base::Secret> : fmt::formatter<fmt::string_view> {
  template <typename Context>
  auto format(const dstack::base::Secret&, Context& context) const {
    return fmt::formatter<fmt::string_view>::format("***", context);
  }
};
