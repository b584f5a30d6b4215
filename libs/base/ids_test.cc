#include "libs/base/ids.h"

#include <sstream>
#include <type_traits>
#include <unordered_set>

#include <absl/container/flat_hash_set.h>
#include <catch2/catch.hpp>

#include "libs/base/secret.h"

namespace dstack {
namespace {

static_assert(!std::is_convertible_v<RunId, InstanceId>);
static_assert(!std::is_convertible_v<std::string, RunId>);
static_assert(std::is_same_v<TaskId, JobId>);

TEST_CASE("ids compare, print and hash") {
  const RunId a("a");
  CHECK(a < RunId("b"));
  CHECK(a == RunId(std::string("a")));
  CHECK(fmt::format("{}", a) == "a");
  CHECK(RunId().empty());
  CHECK(std::unordered_set<RunId>{a, RunId("a")}.size() == 1);
  CHECK(absl::flat_hash_set<RunId>{a, RunId("b")}.size() == 2);
}

TEST_CASE("a secret never prints") {
  const base::Secret secret("hunter2");
  std::ostringstream out;
  out << secret;
  CHECK(out.str() == "***");
  CHECK(fmt::format("{}", secret) == "***");
  CHECK(secret.Reveal() == "hunter2");
}

TEST_CASE("secrets compare by content and move empty") {
  base::Secret a("same");
  CHECK(a == base::Secret("same"));
  CHECK_FALSE(a == base::Secret("sane"));
  CHECK_FALSE(a == base::Secret("same+"));
  const base::Secret moved(std::move(a));
  CHECK(moved.Reveal() == "same");
  CHECK(a.empty());  // NOLINT(bugprone-use-after-move): the promise under test
}

}  // namespace
}  // namespace dstack
