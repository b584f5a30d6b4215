// What the vectors do not show: printing, and cron times. The grammars themselves are in
// tests/fixtures/vectors.
#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/config/format.h"
#include "libs/config/shorthand/cron.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/shorthand/port.h"
#include "libs/config/text.h"

namespace dstack::config {
namespace {

using std::chrono::system_clock;

TEST_CASE("durations print with the largest unit that divides them") {
  CHECK(FormatDuration(0) == "0s");
  CHECK(FormatDuration(90) == "90s");
  CHECK(FormatDuration(7200) == "2h");
  CHECK(FormatDuration(604800) == "1w");
  CHECK(FormatDuration(86400) == "1d");
  v1::OffableDuration off;
  CHECK(FormatDuration(off).empty());
  off.set_off(true);
  CHECK(FormatDuration(off) == "off");
}

TEST_CASE("sizes, ranges, GPUs, ports and prices print as they are written") {
  for (const char* size : {"24GB", "0.5GB", "1536GB"}) {
    CHECK(FormatMemory(ParseMemory(size).value()) == size);
  }
  CHECK(FormatMemory(ParseMemory("512MB").value()) == "0.5GB");
  for (const char* range : {"4", "2..8", "2..", "..8"}) {
    CHECK(FormatIntRange(ParseIntRange(range).value()) == range);
  }
  for (const char* gpu : {"A100,H100:80GB:2", "nvidia:24GB..:1..", "2", "amd:8"}) {
    CHECK(FormatGpu(ParseGpu(gpu).value()) == gpu);
  }
  for (const char* port : {"8000", "80:8000", "*:8000"}) {
    CHECK(FormatPort(ParsePort(port).value()) == port);
  }
  CHECK(FormatPrice(0.2145) == "$0.2145");
  CHECK(FormatPrice(12) == "$12");
  CHECK(FormatPrice(0) == "$0");
}

TEST_CASE("absolute paths are normalised") {
  CHECK(NormaliseAbsolutePath("/a/./b//c/").value() == "/a/b/c");
  CHECK(NormaliseAbsolutePath("/").value() == "/");
  CHECK(NormaliseAbsolutePath("//a").value() == "//a");
  CHECK(NormaliseAbsolutePath("///a").value() == "/a");
  for (const char* path : {"", "a", "./a", "/a/../b", "/..", "/a\nb"}) {
    INFO(path);
    CHECK(!NormaliseAbsolutePath(path).ok());
  }
}

system_clock::time_point At(int year, int month, int day, int hour, int minute) {
  using namespace std::chrono;
  return sys_days(std::chrono::year(year) / month / day) + hours(hour) + minutes(minute);
}

TEST_CASE("the next time of a cron expression") {
  struct Case {
    std::string cron;
    system_clock::time_point after;
    system_clock::time_point next;
  };
  // 2024-01-01 is a Monday.
  const std::vector<Case> cases = {
      {"0 8 * * *", At(2024, 1, 1, 7, 59), At(2024, 1, 1, 8, 0)},
      {"0 8 * * *", At(2024, 1, 1, 8, 0), At(2024, 1, 2, 8, 0)},
      {"*/15 * * * *", At(2024, 1, 1, 0, 1), At(2024, 1, 1, 0, 15)},
      {"10/20 * * * *", At(2024, 1, 1, 0, 11), At(2024, 1, 1, 0, 30)},
      {"0 0 * * 0", At(2024, 1, 2, 0, 0), At(2024, 1, 8, 0, 0)},
      {"0 0 * * sun", At(2024, 1, 2, 0, 0), At(2024, 1, 7, 0, 0)},
      {"0 8 * jan-mar mon,wed", At(2024, 3, 28, 0, 0), At(2025, 1, 1, 8, 0)},
      {"0 0 last feb *", At(2024, 1, 1, 0, 0), At(2024, 2, 29, 0, 0)},
      {"0 0 29 2 *", At(2024, 3, 1, 0, 0), At(2028, 2, 29, 0, 0)},
      // Day and weekday must both match.
      {"0 0 13 * fri", At(2024, 1, 1, 0, 0), At(2024, 9, 13, 0, 0)},
  };
  for (const Case& c : cases) {
    INFO(c.cron);
    CHECK(CronExpression::Parse(c.cron).value().Next(c.after) == c.next);
  }
  CHECK(!CronExpression::Parse("0 0 31 2 *").value().Next(At(2024, 1, 1, 0, 0)).has_value());
}

TEST_CASE("malformed cron expressions are refused") {
  for (const char* cron : {"",
                           "* * * *",
                           "* * * * * *",
                           "@daily",
                           "60 * * * *",
                           "* 24 * * *",
                           "* * 0 * *",
                           "* * * 13 *",
                           "* * * * 7",
                           "*/60 * * * *",
                           "*/0 * * * *",
                           "5-1 * * * *",
                           "a * * * *",
                           "1- * * * *",
                           "-1 * * * *",
                           "1/2/3 * * * *",
                           "* * ? * *",
                           "* * L * *",
                           "99999999999999999999 * * * *"}) {
    INFO(cron);
    CHECK(!CronExpression::Parse(cron).ok());
  }
  CHECK(CronExpression::Parse("0 0 1 jan-mar/2 *").ok());
}

TEST_CASE("the nearest word is suggested only where it is near") {
  const std::vector<std::string> known = {"commands", "cpu", "gpu", "image", "ports"};
  CHECK(Nearest("command", known) == "commands");
  CHECK(Nearest("comands", known) == "commands");
  CHECK(Nearest("Image", known) == "image");
  CHECK(Nearest("gpus", known) == "gpu");
  CHECK(!Nearest("schedule", known).has_value());
}

TEST_CASE("excerpts are one bounded line") {
  CHECK(Excerpt("a\nb\x1b[31m") == "a\\nb\\x1b[31m");
  CHECK(Excerpt(std::string(500, 'x')).size() < 80);
  CHECK(Excerpt("\xff") == "\\xff");
}

}  // namespace
}  // namespace dstack::config
