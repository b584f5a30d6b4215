// Lines on their way from write() in the container to the command line, one by one and in floods.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/docker/images.h"
#include "libs/process/subprocess.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "tests/bench/system/figures.h"

namespace dstack::bench {
namespace {

using namespace std::chrono_literals;
using testing::LiveProgram;
using testing::MiniCluster;

constexpr char kImage[] = "dstack-test/lines:1";

void MakeImage(const MiniCluster& cluster) {
  const testing::TempDir root;
  const std::string program = testing::BuildDir() + "/test-bin/bench_line_program";
  REQUIRE(process::RunChecked({"cp", program, root.Path("lines")}, 10s).ok());
  auto tar = process::RunChecked(
      {"tar", "-C", root.path(), "-c", "lines"}, 10s, {.output_limit_bytes = 64 << 20});
  REQUIRE(tar.ok());
  REQUIRE(docker::ImportImage(
              cluster.docker().client(), kImage, *std::move(tar), {R"(ENTRYPOINT ["/lines"])"}, {})
              .ok());
}

// A task of the line program.
std::string WriteLines(const MiniCluster& cluster,
                       const std::string& name,
                       const std::string& mode,
                       int count,
                       int detail) {
  return cluster.WriteTask(
      name, {}, fmt::format("image: {}\nentrypoint: /lines {} {} {}", kImage, mode, count, detail));
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

// The clock's lines: from the time in each to its arrival. Lines that were written before the
// first arrival waited for the reader's connection and are left out.
void PrintLatency(const std::string& name, const LiveProgram& reader, int count) {
  const std::string text = reader.out();
  const std::vector<LiveProgram::Arrival> arrivals = reader.arrivals();
  const std::vector<std::string_view> lines = Lines(text);
  REQUIRE(lines.size() == static_cast<std::size_t>(count));

  const std::chrono::nanoseconds offset =
      std::chrono::system_clock::now().time_since_epoch() - SteadyClock::now().time_since_epoch();
  const std::int64_t first = (arrivals.front().at.time_since_epoch() + offset).count();
  Samples latency;
  std::int64_t last_written = 0;
  auto arrival = arrivals.begin();
  for (const std::string_view line : lines) {
    const std::int64_t written = std::strtoll(line.data(), nullptr, 10);
    REQUIRE(written > last_written);
    last_written = written;
    const auto end = static_cast<std::size_t>(line.data() + line.size() + 1 - text.data());
    while (arrival->end < end) ++arrival;
    const std::int64_t arrived = (arrival->at.time_since_epoch() + offset).count();
    if (written > first) latency.Add(static_cast<double>(arrived - written) / 1e6);
  }
  latency.PrintPercentiles(name, "ms");
}

void MeasureLatency(const MiniCluster& cluster) {
  constexpr int kLines = 1000;
  constexpr int kPauseMs = 5;
  const auto apply = cluster.StartCli(
      {"apply", "-y", "-f", WriteLines(cluster, "attached", "clock", kLines, kPauseMs)});
  REQUIRE(apply->AwaitExit(60s) == 0);
  PrintLatency("log_line_attached", *apply, kLines);

  cluster.CliOk(
      {"apply", "-d", "-y", "-f", WriteLines(cluster, "followed", "clock", kLines, kPauseMs)});
  cluster.AwaitRun("followed", "running");
  const auto logs = cluster.StartCli({"logs", "followed"});
  REQUIRE(logs->AwaitExit(60s) == 0);
  PrintLatency("log_line_followed", *logs, kLines);
  cluster.AwaitIdle();
}

// Counts the numbers from 1 to `count` that are not exactly once, and in order, in the text.
struct Difference {
  int lost = 0;
  int surplus = 0;
};

Difference Compare(const std::string& text, int count) {
  Difference difference;
  int last = 0;
  for (const std::string_view line : Lines(text)) {
    const int number = std::atoi(line.data());
    if (number <= last) {
      ++difference.surplus;
      continue;
    }
    difference.lost += number - last - 1;
    last = number;
  }
  difference.lost += count - last;
  return difference;
}

// A task that writes as fast as it can, followed by its apply and read again by `dstack logs`.
void MeasureFlood(const MiniCluster& cluster, const std::string& name, int count, int bytes) {
  const std::string run = "flood-" + std::to_string(bytes);
  const std::string file = WriteLines(cluster, run, "flood", count, bytes);
  const auto begin = SteadyClock::now();
  const auto apply = cluster.StartCli({"apply", "-y", "-f", file});
  REQUIRE(apply->AwaitExit(300s) == 0);
  const auto end = SteadyClock::now();
  const double seconds = Milliseconds(end - apply->arrivals().front().at) / 1e3;
  Print(name, Milliseconds(end - begin) / 1e3, "s");
  // Until apply returned: everything is durable then.
  Print(name + "_throughput", static_cast<double>(count) * bytes / seconds / 1e6, "MB/s");
  Print(name + "_lines", count / seconds, "1/s");

  const Difference live = Compare(apply->out(), count);
  Print(name + "_lost", live.lost, "lines");
  Print(name + "_surplus", live.surplus, "lines");
  CHECK(live.lost == 0);
  CHECK(live.surplus == 0);

  const auto again = SteadyClock::now();
  const std::string stored = cluster.CliOk({"logs", run}, 300s);
  Print(name + "_read_again", MillisecondsSince(again) / 1e3, "s");
  CHECK((stored == apply->out()));
  cluster.AwaitIdle();
}

TEST_CASE("logs") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  MakeImage(*cluster);
  MeasureLatency(*cluster);
  // 200,000 lines; 200 MB in lines of 1,000 bytes.
  MeasureFlood(*cluster, "log_burst_200k", 200'000, 80);
  MeasureFlood(*cluster, "log_burst_200mb", 200'000, 1000);
  MeasureFlood(*cluster, "log_burst_short_lines", 2'000'000, 8);
  Print("server_rss_peak_of_floods", ResidentMb(cluster->server_pid(), "VmHWM"), "MB");
  Print("server_rss_after_floods", ResidentMb(cluster->server_pid()), "MB");
  CHECK(docker::RemoveImage(cluster->docker().client(), kImage, {}).ok());
}

}  // namespace
}  // namespace dstack::bench
