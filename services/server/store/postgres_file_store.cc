#include "services/server/store/postgres_file_store.h"

#include <set>

#include "fmt/format.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"

namespace dstack::server {

absl::StatusOr<std::vector<std::string>> PostgresFileStore::FindMissing(
    const UserId& user, const std::vector<std::string>& digests) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> clean;
    for (const std::string& digest : digests) clean.push_back(db::CleanText(digest));
    std::set<std::string> present;
    for (const auto& row : tx.exec_params(
             "SELECT digest FROM user_files WHERE user_id = $1 AND digest = ANY($2::text[])",
             user.str(),
             db::ArrayLiteral(clean))) {
      present.insert(db::Text(row["digest"]));
    }
    // What is asked for is in use: its time begins anew, once a day.
    tx.exec_params0(
        "UPDATE user_files SET created_at = now() WHERE user_id = $1 AND digest = ANY($2::text[])"
        " AND created_at < now() - interval '1 day'",
        user.str(),
        db::ArrayLiteral(clean));
    std::vector<std::string> missing;
    for (const std::string& digest : digests) {
      if (!present.contains(digest)) missing.push_back(digest);
    }
    return missing;
  });
}

absl::Status PostgresFileStore::Put(const UserId& user,
                                    const std::string& digest,
                                    const std::string& content) {
  const std::string actual = base::Sha256Hex(content);
  if (actual != digest) {
    return base::Error(
        absl::StatusCode::kInvalidArgument,
        "DIGEST_MISMATCH",
        fmt::format("the content has SHA-256 {}, the upload says '{}'", actual, digest));
  }
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    tx.exec_params0("INSERT INTO blobs (digest, content) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                    digest,
                    db::Bytes(content));
    // One that was there may be on its way out because nobody had it any more.
    if (tx.exec_params("SELECT FROM blobs WHERE digest = $1 FOR KEY SHARE", digest).empty()) {
      return base::Unavailable("the file was just deleted as an old one; upload it again");
    }
    tx.exec_params0(
        "INSERT INTO user_files (user_id, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        user.str(),
        digest);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::string> PostgresFileStore::Get(const UserId& user, const std::string& digest) {
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<std::string> {
    const auto rows = tx.exec_params(
        "SELECT b.content FROM user_files f JOIN blobs b ON b.digest = f.digest"
        " WHERE f.user_id = $1 AND f.digest = $2",
        user.str(),
        db::CleanText(digest));
    if (rows.empty()) return base::NotFound("FILE_NOT_FOUND", "file", digest);
    return db::Blob(rows[0]["content"]);
  });
}

}  // namespace dstack::server
