#pragma once

#include <chrono>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

namespace dstack::testing {

// Waits until `condition` holds, looking every few milliseconds, and fails the test case with
// `describe()` (what was seen last) when it does not within `timeout`. The only way tests wait for
// something that real threads or processes do.
//
//   Await(5s, [&] { return shim.state() == kUp; }, [&] { return Name(shim.state()); });
template <typename Condition, typename Describe>
void Await(std::chrono::nanoseconds timeout, Condition condition, Describe describe) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      std::ostringstream text;
      text << "condition did not hold in time, last seen: " << describe();
      FAIL(text.str());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

template <typename Condition>
void Await(std::chrono::nanoseconds timeout, Condition condition) {
  Await(timeout, condition, [] { return "(no description)"; });
}

// Waits until `read()` equals `expected`; prints the last value.
template <typename Read, typename Value>
void AwaitEqual(std::chrono::nanoseconds timeout, Read read, const Value& expected) {
  auto last = read();
  Await(
      timeout,
      [&] {
        last = read();
        return last == expected;
      },
      [&] { return Catch::Detail::stringify(last); });
}

// Marks the test case as skipped in CTest; return right after it. In CI a skip fails the job unless
// the reason begins with "kernel:" (the machine's kernel refuses a capability).
inline void Skip(const std::string& reason) { WARN("SKIPPED: " << reason); }

}  // namespace dstack::testing
