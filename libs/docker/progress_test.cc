#include "libs/docker/progress.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/testing/paths.h"

namespace dstack::docker {
namespace {

PullTracker Replay(std::string_view text) {
  PullTracker tracker;
  LineSplitter lines([&](std::string_view line) {
    if (const auto event = ParsePullEvent(line)) tracker.Add(*event);
  });
  lines.Append(text);
  lines.Finish();
  return tracker;
}

std::string Transcript(const std::string& name) {
  const auto text = base::ReadFile(testing::SourceDir() + "/libs/docker/testdata/" + name);
  REQUIRE(text.ok());
  return *text;
}

std::string Event(std::string_view status, std::string_view id, std::string_view detail = "{}") {
  return fmt::format(
      "{{\"status\":\"{}\",\"progressDetail\":{},\"id\":\"{}\"}}\n", status, detail, id);
}

TEST_CASE("P1 no events give no totals") {
  CHECK_FALSE(PullTracker().totals().has_value());
  CHECK_FALSE(PullTracker().is_complete());
}

TEST_CASE("P2 an image that is there gives zeros and a final total") {
  const PullTracker tracker =
      Replay(Event("Pulling from library/x", "1.0") + Event("Already exists", "a") +
             Event("Already exists", "b") + "{\"status\":\"Status: Image is up to date\"}\n");
  CHECK(tracker.totals() == PullTotals{.is_total_final = true});
  CHECK(tracker.is_complete());
}

TEST_CASE("P3 announced layers without sizes are not final") {
  const PullTracker tracker = Replay(Event("Pulling fs layer", "a") + Event("Waiting", "b"));
  CHECK(tracker.totals() == PullTotals{.is_total_final = false});
}

TEST_CASE("P4 a whole pull adds up") {
  std::string text = Event("Pulling fs layer", "a");
  text += Event("Downloading", "a", R"({"current":10,"total":100})");
  CHECK(Replay(text).totals() == PullTotals{10, 0, 100, true});
  text += Event("Download complete", "a");
  CHECK(Replay(text).totals() == PullTotals{100, 0, 100, true});
  text += Event("Extracting", "a", R"({"current":40,"total":100})");
  CHECK(Replay(text).totals() == PullTotals{100, 40, 100, true});
  text += Event("Pull complete", "a");
  CHECK(Replay(text).totals() == PullTotals{100, 100, 100, true});
}

TEST_CASE("P5 mixed layers are summed, one unknown size keeps the total open") {
  const PullTracker tracker = Replay(Event("Downloading", "a", R"({"current":10,"total":100})") +
                                     Event("Extracting", "b", R"({"current":20,"total":50})") +
                                     Event("Already exists", "c") + Event("Pulling fs layer", "d"));
  CHECK(tracker.totals() == PullTotals{60, 20, 150, false});
}

TEST_CASE("P6 extraction in seconds leaves the bytes alone") {
  std::string text = Event("Downloading", "a", R"({"current":100,"total":100})") +
                     Event("Extracting", "a", R"({"current":3,"units":"s"})");
  CHECK(Replay(text).totals() == PullTotals{100, 0, 100, true});
  text += Event("Pull complete", "a");
  CHECK(Replay(text).totals() == PullTotals{100, 100, 100, true});
}

TEST_CASE("recorded transcripts of an engine") {
  const PullTracker full = Replay(Transcript("pull_full.jsonl"));
  CHECK(full.is_complete());
  CHECK(full.errors().empty());
  const std::uint64_t bytes = 30009353 + 1064582 + 156;
  CHECK(full.totals() == PullTotals{bytes, bytes, bytes, true});

  const PullTracker partial = Replay(Transcript("pull_partial.jsonl"));
  CHECK(partial.totals() == PullTotals{30009509, 30009509, 30009509, true});

  const PullTracker none = Replay(Transcript("pull_uptodate.jsonl"));
  CHECK_FALSE(none.totals().has_value());
  CHECK(none.is_complete());
}

TEST_CASE("errors are collected and odd lines are passed over") {
  const PullTracker tracker = Replay(
      "not json\n[1]\n{\"status\":5}\n"
      "{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}\n"
      "{\"error\":\"second\"}\n");
  CHECK(tracker.errors() == std::vector<std::string>{"no space left", "second"});
  CHECK_FALSE(tracker.is_complete());
}

TEST_CASE("negative sizes count as unknown") {
  const PullTracker tracker = Replay(Event("Downloading", "a", R"({"current":5,"total":-1})"));
  CHECK(tracker.totals() == PullTotals{5, 0, 0, false});
}

TEST_CASE("lines are cut at newlines wherever the pieces end") {
  std::vector<std::string> seen;
  LineSplitter lines([&](std::string_view line) { seen.emplace_back(line); });
  for (const char c : std::string("one\n\ntwo\nthr")) lines.Append({&c, 1});
  CHECK(seen == std::vector<std::string>{"one", "two"});
  lines.Finish();
  CHECK(seen.back() == "thr");
}

TEST_CASE("a line without end is dropped, not kept in memory") {
  std::vector<std::string> seen;
  LineSplitter lines([&](std::string_view line) { seen.emplace_back(line); });
  for (int i = 0; i < 40; ++i) lines.Append(std::string(100'000, 'x'));
  lines.Append("\nnext\n");
  CHECK(seen == std::vector<std::string>{"next"});
}

}  // namespace
}  // namespace dstack::docker
