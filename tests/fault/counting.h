// A task whose output shows whether anything was lost, doubled or reordered, and started once.
#pragma once

#include <memory>
#include <string>

#include "libs/testing/live_program.h"
#include "libs/testing/mini_cluster.h"

namespace dstack::fault {

inline constexpr int kExitCode = 7;

// The lines "1" to `count`.
std::string Numbers(int count);

// A run that prints one number every 20 ms, up to `count`, and exits with kExitCode; followed by an
// attached `dstack apply` from its beginning.
class Counting {
 public:
  Counting(const testing::MiniCluster& cluster, const std::string& name, int count);

  // The CLI has shown this number.
  void Await(int number, std::chrono::nanoseconds timeout = std::chrono::seconds(60)) const;
  // The last number that the CLI has shown.
  int Last() const;
  // The run ends by itself, with its exit code, and the CLI and the stored log both hold every line
  // exactly once.
  void CheckEnd();
  bool IsRunning() { return cli_->IsRunning(); }
  const std::string& name() const { return name_; }

 private:
  const testing::MiniCluster& cluster_;
  const std::string name_;
  const int count_;
  std::unique_ptr<testing::LiveProgram> cli_;
};

}  // namespace dstack::fault
