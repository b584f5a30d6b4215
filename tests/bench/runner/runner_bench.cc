// The runner with a server that acknowledges at once: throughput of one job's log, latency of a
// line and of a start, memory at rest. One line per figure.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void MeasureFlood(const char* name, const std::string& script) {
  Fixture f;
  const auto start = Clock::now();
  f.Run(MakeShellJob(script));
  f.Finish();
  const double seconds = SecondsSince(start);
  const std::string& text = f.store.text[LOG_SOURCE_JOB];
  std::printf(
      "runner_%s_throughput %.1f MB/s\n", name, static_cast<double>(text.size()) / seconds / 1e6);
  std::printf("runner_%s_lines %.0f 1/s\n",
              name,
              static_cast<double>(std::count(text.begin(), text.end(), '\n')) / seconds);
  std::printf("runner_%s_serve_memory %ld KiB\n", name, ResidentKib(f.runner.ServePid()));
}

TEST_CASE("log throughput") {
  MeasureFlood("long_lines", "head -c 300000000 /dev/zero | tr '\\0' 'x' | fold -w 1000");
  MeasureFlood("short_lines", "seq 1 3000000");
}

TEST_CASE("latency of a line") {
  Fixture f;
  f.Run(MakeShellJob("while read -r line; do date +%s%N; done < " + f.runner.Path("go") +
                     "; i=0; while [ $i -lt 200 ]; do i=$((i+1)); date +%s%N; sleep 0.005; done"));
  REQUIRE(base::WriteFileAtomic(f.runner.Path("go"), "x\n").ok());
  std::vector<double> millis;
  std::size_t seen = 0;
  testing::Await(std::chrono::seconds(60), [&] {
    const std::string text = f.client->Text(LOG_SOURCE_JOB);
    const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    if (text.size() > seen && text.ends_with('\n')) {
      const std::size_t line = text.rfind('\n', text.size() - 2);
      millis.push_back(static_cast<double>(now - std::stoll(text.substr(line + 1))) / 1e6);
      seen = text.size();
    }
    return f.client->status().state() == v1::JOB_STATE_FINISHED;
  });
  REQUIRE(millis.size() > 10);
  std::sort(millis.begin(), millis.end());
  // Includes the end of date(1) and up to 2 ms until this program looks.
  std::printf("runner_line_latency_p50 %.2f ms\n", millis[millis.size() / 2]);
  std::printf("runner_line_latency_p99 %.2f ms\n", millis[millis.size() * 99 / 100]);
}

TEST_CASE("start and memory") {
  Fixture f;
  const auto boot = Clock::now();
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->AwaitHello();
  std::printf("runner_boot_to_hello %.1f ms\n", SecondsSince(boot) * 1e3);
  std::printf("runner_supervise_memory %ld KiB\n", ResidentKib(f.runner.supervisor_pid()));
  std::printf("runner_serve_memory %ld KiB\n", ResidentKib(f.runner.ServePid()));
  const auto submit = Clock::now();
  f.client->Submit(MakeShellJob("echo first; exec sleep 100"));
  f.client->AwaitFilesNeeded();
  f.client->StartJob();
  f.client->AwaitText(LOG_SOURCE_JOB, "first");
  std::printf("runner_submit_to_first_line %.1f ms\n", SecondsSince(submit) * 1e3);
  const auto stop = Clock::now();
  f.client->StopJob(5);
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  std::printf("runner_stop_to_finished %.1f ms\n", SecondsSince(stop) * 1e3);
}

}  // namespace
}  // namespace dstack::runner
