#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

namespace dstack::db {

// One step of the schema.
struct Migration {
  int number = 0;         // 1, 2, 3, ...
  std::string_view name;  // "create_schema"
  std::string_view sql;
};

// Brings a database to the newest migration, each in a transaction of its own together with its
// row in `schema_migrations`, under an advisory lock on a connection that nobody else uses: two
// migrators at once are safe, and one that is killed leaves whole steps behind.
// FAILED_PRECONDITION/VERSION_MISMATCH when the database is newer than `migrations` or a step that
// was applied had another content. UNAVAILABLE when the database cannot be reached.
// Returns how many steps were applied.
absl::StatusOr<int> Migrate(const std::string& conninfo, const std::vector<Migration>& migrations);

}  // namespace dstack::db
