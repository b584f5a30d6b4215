#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "libs/testing/mini_cluster.h"

// What the benchmarks share: figures as lines `name value unit`, and what processes cost.
namespace dstack::bench {

using SteadyClock = std::chrono::steady_clock;

double Milliseconds(SteadyClock::duration duration);
double MillisecondsSince(SteadyClock::time_point begin);

void Print(std::string_view name, double value, std::string_view unit);

// A figure that was taken many times.
class Samples {
 public:
  void Add(double value) { values_.push_back(value); }
  std::size_t size() const { return values_.size(); }
  // `share` of 0.5 is the median. There is at least one sample.
  double At(double share) const;
  // <name>_p50, <name>_p99 and <name>_count.
  void PrintPercentiles(const std::string& name, std::string_view unit) const;

 private:
  std::vector<double> values_;
};

// Megabytes (10^6) of a process, from /proc: `field` is VmRSS or VmHWM (the most so far).
double ResidentMb(pid_t pid, std::string_view field = "VmRSS");
// Of a process and all below it, with shared pages counted once (proportional set size).
double ProportionalMb(pid_t root);

struct ProgramCost {
  double wall_ms = 0;
  double peak_mb = 0;
  int status = 0;  // as a shell shows it
};
// Runs the command line to its end, with its output thrown away. `peak_mb` is only true while it is
// more than this process has ever had: the kernel counts the parent's pages until the exec.
ProgramCost MeasureCli(const testing::MiniCluster& cluster,
                       const std::vector<std::string>& arguments);

}  // namespace dstack::bench
