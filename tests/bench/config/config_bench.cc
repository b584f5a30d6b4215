// How long documents take: one of 100 lines; the worst ones of a megabyte, with the memory they
// need; and `dstack config check` as a user types it (a `dstack` beside this program's folder,
// bin/dstack).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/config/canonical.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "tests/bench/config/peak_memory.h"
#include "tests/bench/config/shapes.h"

namespace {

using Clock = std::chrono::steady_clock;

// A service of 100 lines: 60 variables, 30 commands, resources and ports.
std::string HundredLines() {
  std::string text = "type: service\nname: bench\nimage: vllm/vllm-openai\nport: 8000\nenv:\n";
  for (int i = 0; i < 60; ++i) text += fmt::format("  - VARIABLE_{}=value {}\n", i, i);
  text += "commands:\n";
  for (int i = 0; i < 25; ++i) text += fmt::format("  - python step.py --index {}\n", i);
  text += "resources:\n  cpu: 8..\n  memory: 64GB..\n  gpu: H100:80GB:8\n  disk: 500GB..\n";
  return text + "volumes:\n  - data:/data\nmax_duration: 3d\nretry: true\n";
}

template <typename Work>
double MedianMs(int rounds, Work work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    work();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds / 2)];
}

bool Parses(const std::string& text) {
  return dstack::config::ParseAnyDocument(text, "bench.dstack.yml").ok();
}

double ProcessorMs() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// Good or refused: both may take no longer. Processor time, as the fuzzers count it, so that other
// work on the machine does not show.
void MeasureShape(const dstack::bench::Shape& shape) {
  constexpr int kRounds = 5;
  std::vector<double> times;
  size_t bytes = 0;
  for (int i = 0; i < kRounds; ++i) {
    const dstack::bench::PeakMemory memory;
    const double start = ProcessorMs();
    Parses(shape.text);
    times.push_back(ProcessorMs() - start);
    bytes = memory.bytes();
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  fmt::print("config_1mb_{} {:.1f} ms\n", shape.name, times[kRounds / 2]);
  fmt::print(
      "config_1mb_{}_memory {:.1f} MB\n", shape.name, static_cast<double>(bytes) / (1 << 20));
}

bool RunCheck(const std::string& program, const std::string& file) {
  const std::vector<std::string> words = {program, "config", "check", file};
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 1;
  return error == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

}  // namespace

int main() {
  const std::string text = HundredLines();
  bool all_good = Parses(text);
  fmt::print("config_check_100_lines {:.3f} ms\n",
             MedianMs(201, [&] { all_good = Parses(text) && all_good; }));
  for (const dstack::bench::Shape& shape : dstack::bench::WorstShapes()) MeasureShape(shape);
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string program = self.parent_path().parent_path() / "bin" / "dstack";
  const std::string file =
      (std::filesystem::temp_directory_path() / fmt::format("config_bench_{}.yml", getpid()))
          .string();
  std::ofstream(file) << text;
  if (std::filesystem::exists(program)) {
    fmt::print("config_check_wall {:.1f} ms\n",
               MedianMs(51, [&] { all_good = RunCheck(program, file) && all_good; }));
  }
  std::filesystem::remove(file);
  return all_good ? 0 : 1;
}
