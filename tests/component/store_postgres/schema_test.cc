#include <cstdlib>
#include <string>

#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/paths.h"
#include "services/server/database/postgres_cluster.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

// The dump without what depends on the program that made it.
std::string Normalize(const std::string& dump) {
  std::string out;
  bool was_empty = true;
  for (const auto line : absl::StrSplit(dump, '\n')) {
    const bool is_noise = absl::StartsWith(line, "--") || absl::StartsWith(line, "SET ") ||
                          absl::StartsWith(line, "SELECT pg_catalog.set_config") ||
                          absl::StartsWith(line, "\\restrict") ||
                          absl::StartsWith(line, "\\unrestrict");
    if (is_noise || (line.empty() && was_empty)) continue;
    was_empty = line.empty();
    out.append(line.data(), line.size());
    out += '\n';
  }
  return out;
}

TEST_CASE("schema.sql is what the migrations make") {
  const auto programs = FindPostgresPrograms();
  REQUIRE(programs.ok());
  const auto dump = process::RunChecked({*programs + "/pg_dump",
                                         "--schema-only",
                                         "--no-owner",
                                         "--no-privileges",
                                         "--dbname=" + NewMigratedDatabase()},
                                        60s);
  INFO(dump.status());
  REQUIRE(dump.ok());
  const std::string actual =
      "-- The schema that the migrations make. Written by store_schema_test, see README.md.\n\n" +
      Normalize(*dump);
  const std::string path = testing::SourceDir() + "/migrations/schema.sql";
  if (std::getenv("DSTACK_UPDATE_SCHEMA") != nullptr) {
    REQUIRE(base::WriteFileAtomic(path, actual).ok());
  }
  const auto recorded = base::ReadFile(path);
  REQUIRE(recorded.ok());
  CHECK(*recorded == actual);
}

}  // namespace
}  // namespace dstack::server
