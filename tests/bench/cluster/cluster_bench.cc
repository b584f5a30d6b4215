// The figures that users feel, measured on all binaries together. Prints "name value unit" lines
// and asserts no times.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/docker/images.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/paths.h"

namespace dstack::bench {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;
using Clock = std::chrono::steady_clock;

constexpr char kTickerImage[] = "dstack-test/ticker:1";

void Print(const std::string& name, double value, const char* unit) {
  fmt::print("{} {:.3f} {}\n", name, value, unit);
  std::fflush(stdout);
}

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// p50 and p99 of milliseconds.
void PrintQuantiles(const std::string& name, std::vector<double> values) {
  REQUIRE_FALSE(values.empty());
  std::sort(values.begin(), values.end());
  const auto at = [&](double quantile) {
    const auto last = static_cast<double>(values.size() - 1);
    return values[static_cast<std::size_t>(quantile * last + 0.5)];
  };
  Print(name + "_p50", at(0.50), "ms");
  Print(name + "_p99", at(0.99), "ms");
}

template <typename Body>
double TimeOf(Body body) {
  const auto begin = Clock::now();
  body();
  return Milliseconds(Clock::now() - begin);
}

double ResidentMib(pid_t pid) {
  const std::string status = base::ReadFile(fmt::format("/proc/{}/status", pid)).value_or("");
  const std::size_t at = status.find("VmRSS:");
  return at == std::string::npos ? 0 : std::atof(status.c_str() + at + 6) / 1024;
}

void MakeTickerImage(const MiniCluster& cluster) {
  const std::string directory = testing::BuildDir() + "/test-bin";
  auto tar = process::RunChecked(
      {"tar", "-C", directory, "-c", "bench_ticker"}, 10s, {.output_limit_bytes = 64 << 20});
  REQUIRE(tar.ok());
  REQUIRE(
      docker::ImportImage(cluster.docker().client(), kTickerImage, *std::move(tar), {}, {}).ok());
}

void WarmStart(const MiniCluster& cluster) {
  std::vector<double> first_line;
  std::vector<double> exit;
  for (int i = 0; i < 55; ++i) {
    const std::string file = cluster.WriteTask("warm", {"echo line"});
    const auto begin = Clock::now();
    const auto cli = cluster.StartCli({"apply", "-y", "-f", file});
    const int code = cli->AwaitExit();
    const auto end = Clock::now();
    REQUIRE(code == 0);
    // The first ones warm caches up.
    if (i >= 5) {
      first_line.push_back(Milliseconds(cli->arrivals().at(0).at - begin));
      exit.push_back(Milliseconds(end - begin));
    }
    cluster.AwaitIdle();
  }
  PrintQuantiles("apply_to_first_line", first_line);
  PrintQuantiles("apply_to_exit", exit);
}

// From the clock that each line holds to its arrival here.
std::vector<double> Latencies(const testing::LiveProgram& cli) {
  const std::string out = cli.out();
  const auto arrivals = cli.arrivals();
  std::vector<double> latencies;
  auto arrival = arrivals.begin();
  for (std::size_t begin = 0; begin < out.size();) {
    const std::size_t end = out.find('\n', begin) + 1;
    while (arrival->end < end) ++arrival;
    const Clock::time_point written{std::chrono::nanoseconds(std::atoll(out.c_str() + begin))};
    latencies.push_back(Milliseconds(arrival->at - written));
    begin = end;
  }
  return latencies;
}

void LineLatency(const MiniCluster& cluster) {
  MakeTickerImage(cluster);
  constexpr int kLines = 500;
  const std::string file = cluster.WriteTask(
      "tick", {}, fmt::format("image: {}\nentrypoint: /bench_ticker {}", kTickerImage, kLines));
  const auto apply = cluster.StartCli({"apply", "-y", "-f", file});
  testing::Await(30s, [&] { return !apply->out().empty(); });
  const auto logs = cluster.StartCli({"logs", "tick"});
  testing::Await(30s, [&] { return !logs->out().empty(); });
  // What was written before `logs` began is not counted for it.
  const std::string so_far = logs->out();
  const auto stored = std::count(so_far.begin(), so_far.end(), '\n');
  REQUIRE(apply->AwaitExit() == 0);
  REQUIRE(logs->AwaitExit() == 0);
  PrintQuantiles("line_latency_apply", Latencies(*apply));
  std::vector<double> followed = Latencies(*logs);
  REQUIRE(followed.size() == kLines);
  followed.erase(followed.begin(), followed.begin() + stored);
  PrintQuantiles("line_latency_logs", followed);
  cluster.AwaitIdle();
}

void Flood(const MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("flood", {"seq 1 200000"});
  std::string live;
  const double run = TimeOf([&] { live = cluster.CliOk({"apply", "-y", "-f", file}, 300s); });
  std::string stored;
  const double read = TimeOf([&] { stored = cluster.CliOk({"logs", "flood"}, 300s); });
  Print("flood_200000_lines_apply_to_exit", run / 1000, "s");
  Print("flood_200000_lines_read_again", read / 1000, "s");
  Print(
      "flood_lines_live", static_cast<double>(std::count(live.begin(), live.end(), '\n')), "lines");
  Print("flood_lines_stored",
        static_cast<double>(std::count(stored.begin(), stored.end(), '\n')),
        "lines");
  cluster.AwaitIdle();
}

void Stop(const MiniCluster& cluster) {
  std::vector<double> ended;
  std::vector<double> gone;
  for (int i = 0; i < 20; ++i) {
    const std::string file = cluster.WriteTask("stop", {"exec sleep 1000"});
    cluster.CliOk({"apply", "-y", "-d", "-f", file});
    cluster.AwaitRun("stop", "running");
    static_cast<void>(cluster.JobPid("stop"));
    const auto begin = Clock::now();
    cluster.CliOk({"stop", "stop", "-y"});
    cluster.AwaitRun("stop", "terminated");
    ended.push_back(Milliseconds(Clock::now() - begin));
    testing::Await(30s, [&] { return cluster.Containers().empty(); });
    gone.push_back(Milliseconds(Clock::now() - begin));
    cluster.AwaitIdle();
  }
  PrintQuantiles("stop_to_run_ended", ended);
  PrintQuantiles("stop_to_container_gone", gone);
}

// One `dstack ps`, its output thrown away; wall time in ms and peak memory in MiB.
std::pair<double, double> OnePs(const MiniCluster& cluster) {
  std::string program = testing::Binary("dstack");
  std::string command = "ps";
  char* argv[] = {program.data(), command.data(), nullptr};
  std::vector<std::string> env = cluster.Env();
  std::vector<char*> environment;
  for (std::string& variable : env) environment.push_back(variable.data());
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const auto begin = Clock::now();
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environment.data());
  REQUIRE(error == 0);
  int status = 0;
  rusage usage{};
  REQUIRE(wait4(pid, &status, 0, &usage) == pid);
  const double wall = Milliseconds(Clock::now() - begin);
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE(status == 0);
  return {wall, static_cast<double>(usage.ru_maxrss) / 1024};
}

void Ps(const MiniCluster& cluster) {
  std::vector<double> wall;
  double memory = 0;
  for (int i = 0; i < 50; ++i) {
    const auto [ms, mib] = OnePs(cluster);
    wall.push_back(ms);
    memory = std::max(memory, mib);
  }
  PrintQuantiles("ps_wall", wall);
  Print("ps_memory_peak", memory, "MiB");
}

void Memory(const MiniCluster& cluster, const std::string& when) {
  Print("server_memory_" + when, ResidentMib(cluster.server_pid()), "MiB");
  Print("shim_memory_" + when, ResidentMib(cluster.ShimPid()), "MiB");
}

void RunnerMemory(const MiniCluster& cluster) {
  const std::string file = cluster.WriteTask("sleep", {"exec sleep 1000"});
  cluster.CliOk({"apply", "-y", "-d", "-f", file});
  cluster.AwaitRun("sleep", "running");
  Print("runner_serve_memory", ResidentMib(cluster.RunnerServePid("sleep")), "MiB");
  Print("runner_supervise_memory", ResidentMib(cluster.SupervisorPid("sleep")), "MiB");
  cluster.CliOk({"stop", "-x", "-y", "sleep"});
  cluster.AwaitIdle();
}

TEST_CASE("starts") {
  {
    // The image and the page cache.
    const auto warm = MiniCluster::Start();
    REQUIRE(warm);
  }
  std::unique_ptr<MiniCluster> cluster;
  Print("server_first_start",
        TimeOf([&] { cluster = MiniCluster::Start({.has_local_host = false}); }),
        "ms");
  REQUIRE(cluster);
  std::vector<double> later;
  for (int i = 0; i < 5; ++i) {
    cluster->StopServer();
    later.push_back(TimeOf([&] { cluster->StartServer(); }));
  }
  PrintQuantiles("server_later_start", later);
  Print("fleet_apply_to_idle", TimeOf([&] { cluster->AddHost("fresh"); }), "ms");
}

TEST_CASE("one host") {
  const auto cluster = MiniCluster::Start();
  REQUIRE(cluster);
  Memory(*cluster, "idle");
  Ps(*cluster);
  WarmStart(*cluster);
  LineLatency(*cluster);
  Stop(*cluster);
  RunnerMemory(*cluster);
  Memory(*cluster, "after_runs");
  Flood(*cluster);
  Memory(*cluster, "after_flood");
}

}  // namespace
}  // namespace dstack::bench
