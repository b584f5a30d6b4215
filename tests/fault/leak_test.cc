// Everything returns to its base line after many runs.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/process/reaper.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack::fault {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using testing::MiniCluster;

constexpr int kWarmUpRuns = 5;

// Entries of a directory; 0 when there is none.
std::int64_t CountIn(const std::string& directory, bool is_recursive = false) {
  std::error_code error;
  if (is_recursive) {
    const fs::recursive_directory_iterator all(directory, error);
    return std::distance(fs::begin(all), fs::end(all));
  }
  const fs::directory_iterator all(directory, error);
  return std::distance(fs::begin(all), fs::end(all));
}

std::int64_t ResidentKib(pid_t pid) {
  const std::string status = base::ReadFile(fmt::format("/proc/{}/status", pid)).value_or("");
  const std::size_t at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::atoll(status.c_str() + at + 6);
}

// Name of a quantity → its value.
using Usage = std::map<std::string, std::int64_t>;

Usage Measure(const MiniCluster& cluster) {
  Usage usage;
  const std::pair<const char*, pid_t> processes[] = {{"server", cluster.server_pid()},
                                                     {"shim", cluster.ShimPid()}};
  for (const auto& [name, pid] : processes) {
    usage[fmt::format("{} descriptors", name)] = CountIn(fmt::format("/proc/{}/fd", pid));
    usage[fmt::format("{} threads", name)] = CountIn(fmt::format("/proc/{}/task", pid));
    usage[fmt::format("{} children", name)] =
        static_cast<std::int64_t>(process::DescendantsOf(pid).size());
    usage[fmt::format("{} memory", name)] = ResidentKib(pid);
  }
  usage["processes"] = static_cast<std::int64_t>(cluster.Processes().size());
  usage["containers"] = static_cast<std::int64_t>(cluster.Containers().size());
  usage["files of the local host"] = CountIn(cluster.server_home() + "/host", true);
  return usage;
}

// How much more there may be afterwards: caches that fill, pools that reach their size.
std::int64_t Allowance(const std::string& name, int runs) {
  if (name.ends_with("memory")) return 8 * 1024 + runs * 16;  // KiB
  if (name.ends_with("threads")) return 8;
  // PostgreSQL's connections.
  if (name == "server descriptors" || name == "server children") return 12;
  return 0;
}

void RunMany(const MiniCluster& cluster, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string name = fmt::format("leak-{}", i);
    // Half of them are followed, half detached; some fail.
    const std::string file = cluster.WriteTask(name, {"seq 1 50", i % 3 == 0 ? "exit 1" : "true"});
    if (i % 2 == 0) {
      static_cast<void>(cluster.Cli({"apply", "-y", "-f", file}));
    } else {
      cluster.CliOk({"apply", "-y", "-d", "-f", file});
      cluster.CliOk({"logs", name});
    }
    cluster.AwaitIdle();
  }
}

void CheckBaseLine(const MiniCluster& cluster, int runs) {
  RunMany(cluster, kWarmUpRuns);
  const Usage before = Measure(cluster);
  RunMany(cluster, runs);
  for (const auto& [name, value] : before) {
    const std::int64_t limit = value + Allowance(name, runs);
    INFO(name << ": " << value << " before, at most " << limit << " expected");
    // What is being cleaned up at this moment may take a little.
    std::int64_t now = 0;
    testing::Await(
        10s,
        [&, key = name] { return (now = Measure(cluster).at(key)) <= limit; },
        [&, key = name] { return fmt::format("{} is {}", key, now); });
  }
}

TEST_CASE("20 runs leave nothing behind") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  CheckBaseLine(*cluster, 20);
}

TEST_CASE("200 runs leave nothing behind", "[.nightly]") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  CheckBaseLine(*cluster, 200);
}

std::string CommandLine(pid_t pid) {
  std::string text = base::ReadFile(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

TEST_CASE("a server that stops leaves no process but its agents") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->CliOk({"apply", "-y", "-f", cluster->WriteTask("one", {"true"})});
  cluster->AwaitIdle();
  std::vector<pid_t> children = process::DescendantsOf(cluster->server_pid());
  children.push_back(cluster->PostgresPid());
  CHECK(children.size() > 2);
  cluster->StopServer();
  for (const pid_t pid : children) {
    // The far ends of its ssh sessions notice by themselves.
    testing::Await(
        5s, [&] { return CommandLine(pid).empty(); }, [&] { return CommandLine(pid); });
  }
}

}  // namespace
}  // namespace dstack::fault
