#include "libs/process/proc_stat.h"

#include <algorithm>

#include <catch2/catch.hpp>
#include <unistd.h>

namespace dstack::process {
namespace {

TEST_CASE("a stat line with a program name that pretends to be one") {
  const auto entry =
      ParseStat("42 (x) Z 1 (y) R 7 43 44 0 -1 4 10 11 12 13 14 15 16 17 20 0 1 0 99 5");
  REQUIRE(entry.has_value());
  CHECK(entry->pid == 42);
  CHECK(entry->state == 'R');
  CHECK(entry->parent == 7);
  CHECK(entry->group == 43);
  CHECK(entry->start_ticks == 99);
  CHECK_FALSE(entry->has_ended());
}

TEST_CASE("what is no stat line is nothing") {
  for (const char* text : {"", "12 (x", "12 (x) ", "12 (x) R 7 43", "x (x) R 7 43 44"}) {
    INFO(text);
    CHECK_FALSE(ParseStat(text).has_value());
  }
}

TEST_CASE("this process is in the list, with its parent and start") {
  const auto processes = ListProcesses();
  const auto self = std::find_if(
      processes.begin(), processes.end(), [](const ProcessEntry& p) { return p.pid == getpid(); });
  REQUIRE(self != processes.end());
  CHECK(self->parent == getppid());
  CHECK(self->start_ticks == FindProcess(getpid())->start_ticks);
  CHECK(self->start_ticks > 0);
  CHECK_FALSE(FindProcess(-1).has_value());
}

}  // namespace
}  // namespace dstack::process
