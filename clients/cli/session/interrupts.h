// Ctrl-C as something to wait for, and a bell that other threads ring.
#pragma once

#include <chrono>

#include "libs/base/file.h"

namespace dstack::cli {

// Handles SIGINT for the life of the object; at most one object exists at a time. Until Collect,
// and whenever collecting is off, Ctrl-C says "Operation interrupted" and ends the process at once
// with `exit_code`: nothing is then under way that would need an end in order. While collecting it
// is reported by Wait.
class Interrupts {
 public:
  explicit Interrupts(int exit_code);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Switches collecting; returns whether it was on.
  bool Collect(bool is_on);

  // True if Ctrl-C was pressed since the last call. Does not wait.
  bool Take();

  // Wakes up Wait. Any thread.
  void Ring();

  enum class Woken { kTimeout, kInterrupt, kBell, kInput };

  // Waits for Ctrl-C, for the bell, or for input on `input_fd` (-1: none); Ctrl-C counts first. A
  // negative timeout waits for ever. One thread.
  Woken Wait(std::chrono::milliseconds timeout, int input_fd = -1);

 private:
  base::UniqueFd interrupts_;
  base::UniqueFd bell_;
};

}  // namespace dstack::cli
