#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "services/server/domain/run/run.h"
#include "services/server/store/secret_box.h"

namespace dstack::server {

// "SELECT <columns of a run> FROM runs r JOIN ...": to be continued with WHERE.
extern const char* const kSelectRun;

absl::StatusOr<Run> RunFromRow(const SecretBox& box, const pqxx::row& row);
absl::StatusOr<std::vector<Run>> RunsFromRows(const SecretBox& box, const pqxx::result& rows);

// Sealed document of a run.
std::string SealRunSpec(const SecretBox& box, const RunId& id, const api::v1::RunSpec& spec);

void InsertRun(pqxx::work& tx, const SecretBox& box, const Run& run);

// Writes what a transition can change: everything but identity and spec. A claim for a wake-up that
// is still to come, or for none, ends with it.
void UpdateRun(pqxx::work& tx, const Run& run);

// NOT_FOUND/RUN_NOT_FOUND.
absl::Status RunNotFound(const std::string& name_or_id);

}  // namespace dstack::server
