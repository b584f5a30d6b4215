#include "libs/db/migrator.h"

#include <map>

#include <fmt/format.h>
#include <pqxx/pqxx>

#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/db/errors.h"
#include "libs/db/pool.h"
#include "libs/db/rows.h"
#include "libs/failpoint/failpoint.h"

namespace dstack::db {
namespace {

// Any number that no other user of the database takes: "dstack" in ASCII.
constexpr std::int64_t kLockKey = 0x64737461636B;

absl::Status Mismatch(const std::string& message) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "VERSION_MISMATCH", message);
}

// number → digest of the steps that the database has.
std::map<int, std::string> LoadApplied(pqxx::connection& connection) {
  pqxx::work tx(connection);
  // A second migrator waits here until the first one has ended; the lock goes with the transaction.
  tx.exec_params("SELECT pg_advisory_xact_lock($1)", kLockKey);
  tx.exec(
      "CREATE TABLE IF NOT EXISTS schema_migrations ("
      "  number integer PRIMARY KEY,"
      "  name text NOT NULL,"
      "  digest text NOT NULL,"
      "  applied_at timestamptz NOT NULL DEFAULT now())");
  std::map<int, std::string> applied;
  for (const auto& row : tx.exec("SELECT number, digest FROM schema_migrations")) {
    applied[As<int>(row["number"])] = Text(row["digest"]);
  }
  tx.commit();
  return applied;
}

absl::Status CheckApplied(const std::map<int, std::string>& applied,
                          const std::vector<Migration>& migrations) {
  for (const auto& [number, digest] : applied) {
    if (number > static_cast<int>(migrations.size())) {
      return Mismatch(
          fmt::format("the database has migration {}, this version knows {}: it was "
                      "used by a newer version",
                      number,
                      migrations.size()));
    }
    const Migration& known = migrations[static_cast<std::size_t>(number - 1)];
    if (digest != base::Sha256Hex(known.sql)) {
      return Mismatch(
          fmt::format("migration {} ({}) was applied with another content", number, known.name));
    }
  }
  return absl::OkStatus();
}

// True when the step was applied, false when somebody else had done it.
bool Apply(pqxx::connection& connection, const Migration& migration) {
  pqxx::work tx(connection);
  tx.exec_params("SELECT pg_advisory_xact_lock($1)", kLockKey);
  const auto row = tx.exec_params(
      "INSERT INTO schema_migrations (number, name, digest) VALUES ($1, $2, $3) "
      "ON CONFLICT (number) DO NOTHING RETURNING number",
      migration.number,
      std::string(migration.name),
      base::Sha256Hex(migration.sql));
  if (row.empty()) return false;
  tx.exec(std::string(migration.sql));
  FAILPOINT("db.migration_before_commit");
  tx.commit();
  return true;
}

}  // namespace

absl::StatusOr<int> Migrate(const std::string& conninfo, const std::vector<Migration>& migrations) {
  int count = 0;
  int number = 0;
  try {
    pqxx::connection connection(WithTimeouts(conninfo));
    const auto applied = LoadApplied(connection);
    RETURN_IF_ERROR(CheckApplied(applied, migrations));
    for (const Migration& migration : migrations) {
      number = migration.number;
      if (applied.contains(number)) continue;
      if (Apply(connection, migration)) ++count;
    }
  } catch (...) {
    return base::Annotate(ClassifyCurrentException().status, "migration {}", number);
  }
  return count;
}

}  // namespace dstack::db
