#include "tests/bench/system/figures.h"

#include <algorithm>
#include <cstdlib>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "libs/base/file.h"
#include "libs/process/reaper.h"
#include "libs/testing/paths.h"

namespace dstack::bench {
namespace {

constexpr double kKibibyteInMb = 1024.0 / 1e6;

// Value of `field: <number> kB` in a file of /proc; 0 when there is none.
double KibField(const std::string& path, std::string_view field) {
  const std::string text = base::ReadFile(path).value_or("");
  const std::size_t at = text.find(fmt::format("{}:", field));
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + field.size() + 1);
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

pid_t Spawn(std::vector<std::string> argv, std::vector<std::string> env) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int error = posix_spawn(
      &pid, argv[0].c_str(), &actions, nullptr, Pointers(argv).data(), Pointers(env).data());
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE(error == 0);
  return pid;
}

}  // namespace

double Milliseconds(SteadyClock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double MillisecondsSince(SteadyClock::time_point begin) {
  return Milliseconds(SteadyClock::now() - begin);
}

void Print(std::string_view name, double value, std::string_view unit) {
  fmt::print("{} {:.{}f} {}\n", name, value, value < 100 ? 2 : 0, unit);
  std::fflush(stdout);
}

double Samples::At(double share) const {
  REQUIRE_FALSE(values_.empty());
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const double index = share * static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(index + 0.5)];
}

void Samples::PrintPercentiles(const std::string& name, std::string_view unit) const {
  Print(name + "_p50", At(0.5), unit);
  Print(name + "_p99", At(0.99), unit);
  Print(name + "_count", static_cast<double>(values_.size()), "samples");
}

double ResidentMb(pid_t pid, std::string_view field) {
  return KibField(fmt::format("/proc/{}/status", pid), field) * kKibibyteInMb;
}

double ProportionalMb(pid_t root) {
  std::vector<pid_t> pids = process::DescendantsOf(root);
  pids.push_back(root);
  double sum = 0;
  for (const pid_t pid : pids) sum += KibField(fmt::format("/proc/{}/smaps_rollup", pid), "Pss");
  return sum * kKibibyteInMb;
}

ProgramCost MeasureCli(const testing::MiniCluster& cluster,
                       const std::vector<std::string>& arguments) {
  std::vector<std::string> argv{testing::Binary("dstack")};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const auto begin = SteadyClock::now();
  const pid_t pid = Spawn(std::move(argv), cluster.Env());
  int status = 0;
  rusage usage{};
  REQUIRE(wait4(pid, &status, 0, &usage) == pid);
  ProgramCost cost;
  cost.wall_ms = MillisecondsSince(begin);
  cost.peak_mb = static_cast<double>(usage.ru_maxrss) * kKibibyteInMb;
  cost.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return cost;
}

}  // namespace dstack::bench
