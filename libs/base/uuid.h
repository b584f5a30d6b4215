#pragma once

#include <atomic>
#include <string>
#include <string_view>

namespace dstack::base {

// Random UUID (version 4) in the usual lower-case text form, 36 characters.
std::string NewUuid();

// True for 36 characters in the form 8-4-4-4-12 of hexadecimal digits, any version.
bool IsUuid(std::string_view text);

// Source of ids. Thread-safe.
class IdSource {
 public:
  virtual ~IdSource() = default;
  virtual std::string NewId() = 0;
};

class UuidSource final : public IdSource {
 public:
  std::string NewId() override { return NewUuid(); }
};

// 00000000-0000-4000-8000-000000000001 and so on: for tests and replays.
class SequentialIdSource final : public IdSource {
 public:
  std::string NewId() override;

 private:
  std::atomic<unsigned long long> next_{1};
};

}  // namespace dstack::base
