#include "services/server/store/requests.h"

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"

namespace dstack::server {

absl::StatusOr<std::optional<std::string>> RecordRequest(pqxx::work& tx,
                                                         const Request& request,
                                                         const std::string& result) {
  if (request.id.empty()) return std::nullopt;
  const std::string id = db::CleanText(request.id);
  const auto inserted =
      db::ExecPrepared(tx,
                       "INSERT INTO requests (project_id, user_id, request_id, digest, result_id)"
                       " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                       request.project.str(),
                       request.user.str(),
                       id,
                       request.digest,
                       result);
  if (inserted.affected_rows() == 1) return std::nullopt;
  const auto rows = db::ExecPrepared(tx,
                                     "SELECT digest, result_id FROM requests"
                                     " WHERE project_id = $1 AND user_id = $2 AND request_id = $3",
                                     request.project.str(),
                                     request.user.str(),
                                     id);
  if (rows.empty()) {
    // Purged between the two statements.
    return base::Error(absl::StatusCode::kAborted, "LEASE_LOST", "the request is too old");
  }
  if (db::Text(rows[0]["digest"]) != request.digest) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "REQUEST_ID_REUSED",
                       fmt::format("request_id '{}' was used with another content", id),
                       {{"request_id", id}});
  }
  return db::Text(rows[0]["result_id"]);
}

}  // namespace dstack::server
