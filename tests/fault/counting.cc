#include "tests/fault/counting.h"

#include <cstdlib>

#include <catch2/catch.hpp>
#include <fmt/format.h>

namespace dstack::fault {
namespace {

using namespace std::chrono_literals;

constexpr auto kEndTimeout = 120s;

// Where two texts part, in a few words.
std::string Difference(const std::string& expected, const std::string& got) {
  std::size_t at = 0;
  while (at < expected.size() && at < got.size() && expected[at] == got[at]) ++at;
  if (at == expected.size() && at == got.size()) return "";
  constexpr std::size_t kAround = 40;
  const std::size_t from = at < kAround ? 0 : at - kAround;
  return fmt::format("at byte {} of {} and {}: expected '{}', got '{}'",
                     at,
                     expected.size(),
                     got.size(),
                     expected.substr(from, 2 * kAround),
                     got.substr(from, 2 * kAround));
}

}  // namespace

std::string Numbers(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
  return text;
}

Counting::Counting(const testing::MiniCluster& cluster, const std::string& name, int count)
    : cluster_(cluster), name_(name), count_(count) {
  // In a subshell: an interactive bash, as on process hosts, says "exit".
  const std::string file = cluster.WriteTask(
      name,
      {fmt::format("i=0; while [ $i -lt {} ]; do i=$((i+1)); echo $i; sleep 0.02; done; (exit {})",
                   count,
                   kExitCode)});
  cli_ = cluster.StartCli({"apply", "-y", "-f", file});
  Await(1);
}

void Counting::Await(int number, std::chrono::nanoseconds timeout) const {
  // The first line has none before it.
  cli_->AwaitOut((number == 1 ? "" : "\n") + std::to_string(number) + "\n", timeout);
}

int Counting::Last() const {
  const std::string out = cli_->out();
  const std::size_t end = out.rfind('\n');
  if (end == std::string::npos || end == 0) return 0;
  const std::size_t begin = out.rfind('\n', end - 1);
  return std::atoi(out.c_str() + (begin == std::string::npos ? 0 : begin + 1));
}

void Counting::CheckEnd() {
  const int exit = cli_->AwaitExit(kEndTimeout);
  INFO(cli_->err() << "\n" << cluster_.ServerLog());
  CHECK(exit == kExitCode);
  CHECK(Difference(Numbers(count_), cli_->out()) == "");
  CHECK(Difference(Numbers(count_), cluster_.CliOk({"logs", name_})) == "");
  CHECK(cluster_.RunStatus(name_) == "failed");
  const nlohmann::json run = cluster_.Run(name_);
  // One submission: its command started once, as the numbers say too.
  CHECK(run.at("jobs")[0].at("submissions").size() == 1);
  CHECK(cluster_.Submission(name_).at("exit_status") == kExitCode);
}

}  // namespace dstack::fault
