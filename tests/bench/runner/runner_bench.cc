// The runner with a server that acknowledges at once: throughput of one job's log, latency of a
// line and of a start, memory, processor time. One line per figure.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Processor time that a process has used, seconds.
double CpuSeconds(pid_t pid) {
  const std::string stat = base::ReadFile("/proc/" + std::to_string(pid) + "/stat").value_or("");
  std::istringstream words(stat.substr(stat.rfind(')') + 2));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
  // The state is the third field of the file and the first here; utime and stime are 14 and 15.
  constexpr std::size_t kUser = 11;
  constexpr std::size_t kSystem = 12;
  if (fields.size() <= kSystem) return 0;
  return (std::stod(fields[kUser]) + std::stod(fields[kSystem])) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Memory of a process in KiB, where what it shares with others is divided among them.
long ProportionalKib(pid_t pid) {
  const std::string rollup =
      base::ReadFile("/proc/" + std::to_string(pid) + "/smaps_rollup").value_or("");
  const std::size_t at = rollup.find("Pss:");
  return at == std::string::npos ? 0 : std::stol(rollup.substr(at + 4));
}

void MeasureFlood(const char* name, const std::string& script, double lines) {
  Fixture f;
  f.store.keeps_text = false;
  f.Run(MakeShellJob(script));
  f.client->SetPatience(std::chrono::seconds(300));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  const auto start = Clock::now();
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  f.client->AwaitEndOfLogs();
  const double seconds = SecondsSince(start);
  std::printf("runner_%s_throughput %.1f MB/s\n",
              name,
              static_cast<double>(f.store.bytes[LOG_SOURCE_JOB]) / seconds / 1e6);
  std::printf("runner_%s_lines %.0f 1/s\n", name, lines / seconds);
  std::printf("runner_%s_memory_peak %ld KiB\n",
              name,
              PeakKib(f.runner.ServePid()) + PeakKib(f.runner.supervisor_pid()));
}

TEST_CASE("log throughput") {
  MeasureFlood("long_lines", "head -c 300000000 /dev/zero | tr '\\0' 'x' | fold -w 1000", 3e5);
  MeasureFlood("short_lines", "seq 1 3000000", 3e6);
}

// Runs a log of 10 MB/s for three seconds, with its output to `where`, and returns the processor
// time that the command's processes used, seconds.
double RunSteadyLog(Fixture& f, const std::string& where) {
  const std::string megabyte = f.runner.Path("megabyte");
  std::string text;
  while (text.size() < 1'000'000) text += std::string(99, 'x') + "\n";
  REQUIRE(base::WriteFileAtomic(megabyte, text).ok());
  f.Run(MakeShellJob("i=0; while [ $i -lt 30 ]; do dd bs=1000 status=none if=" + megabyte + " >" +
                     where + "; sleep 0.09; i=$((i+1)); done; times >" + f.runner.Path("times") +
                     "; : >" + f.runner.Path("done") + "; cat >/dev/null"));
  testing::Await(std::chrono::seconds(60), [&] { return base::Exists(f.runner.Path("done")); });
  // Two lines: the shell's own times and those of what it ran, each "0m0.12s 0m0.34s".
  std::istringstream words(base::ReadFile(f.runner.Path("times")).value_or(""));
  double sum = 0;
  for (std::string word; words >> word;) {
    const std::size_t minutes = word.find('m');
    sum += std::stod(word) * 60 + std::stod(word.substr(minutes + 1));
  }
  return sum;
}

TEST_CASE("processor time of a log of 10 MB/s") {
  double silent = 0;
  {
    Fixture f;
    silent = RunSteadyLog(f, "/dev/null");
    f.client->StopJob(0);
    f.Finish();
  }
  Fixture f;
  f.store.keeps_text = false;
  const auto start = Clock::now();
  const double loud = RunSteadyLog(f, "/dev/stdout");
  const double seconds = SecondsSince(start);
  const double runner = CpuSeconds(f.runner.ServePid()) + CpuSeconds(f.runner.supervisor_pid());
  std::printf("runner_steady_log_job_cpu %.1f %%\n", (loud - silent) / seconds * 100);
  std::printf("runner_steady_log_runner_cpu %.1f %%\n", runner / seconds * 100);
  f.client->StopJob(0);
  f.Finish();
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

TEST_CASE("start to ready") {
  std::vector<double> millis;
  for (int i = 0; i < 9; ++i) {
    Fixture f;
    const auto start = Clock::now();
    f.runner.StartAndSpin();
    millis.push_back(SecondsSince(start) * 1e3);
  }
  std::sort(millis.begin(), millis.end());
  std::printf("runner_start_to_ready_p50 %.1f ms\n", millis[millis.size() / 2]);
  const auto size = std::filesystem::file_size(testing::Binary("dstack-runner"));
  std::printf("runner_binary_size %.1f MB\n", static_cast<double>(size) / 1e6);
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
  // The program's own pages, which both have in common, count once.
  std::printf("runner_idle_memory_proportional %ld KiB\n",
              ProportionalKib(f.runner.supervisor_pid()) + ProportionalKib(f.runner.ServePid()));
  const auto submit = Clock::now();
  f.client->Submit(MakeShellJob("echo first; exec sleep 100"));
  f.client->AwaitFilesNeeded();
  f.client->StartJob();
  f.client->AwaitText(LOG_SOURCE_JOB, "first");
  std::printf("runner_submit_to_first_line %.1f ms\n", SecondsSince(submit) * 1e3);
  // From the moment that the program runs to the time of its first record.
  const v1::JobStatus status = f.client->AwaitState(v1::JOB_STATE_RUNNING);
  const std::int64_t running =
      google::protobuf::util::TimeUtil::TimestampToNanoseconds(status.state_time());
  std::printf(
      "runner_exec_to_first_record %.2f ms\n",
      static_cast<double>(static_cast<std::int64_t>(f.store.first_time[LOG_SOURCE_JOB]) - running) /
          1e6);
  const auto stop = Clock::now();
  f.client->StopJob(5);
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  std::printf("runner_stop_to_finished %.1f ms\n", SecondsSince(stop) * 1e3);
}

}  // namespace
}  // namespace dstack::runner
