#include "services/server/store/postgres_usage_store.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "google/protobuf/util/time_util.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/params.h"
#include "libs/db/rows.h"
#include "libs/db/statement.h"

namespace dstack::server {
namespace {

using google::protobuf::util::TimeUtil;

}  // namespace

absl::Status PostgresUsageStore::Append(const std::vector<Row>& rows) {
  std::vector<std::string> ids;
  std::vector<std::string> times;
  std::vector<std::string> points;
  for (const Row& row : rows) {
    if (!base::IsUuid(row.subject_id)) {
      return base::Invalid(fmt::format("'{}' is the id of no job or instance", row.subject_id));
    }
    ids.push_back(row.subject_id);
    times.push_back(TimeUtil::ToString(row.point.time()));
    api::v1::UsagePoint point = row.point;
    point.clear_time();
    points.push_back(db::BytesLiteral(point.SerializeAsString()));
  }
  return Transact(context_, [&](pqxx::work& tx) -> absl::Status {
    db::ExecPrepared(tx,
                     "INSERT INTO usage_points (subject_id, time, point)"
                     " SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[])"
                     " ON CONFLICT DO NOTHING",
                     db::ArrayLiteral(ids),
                     db::ArrayLiteral(times),
                     db::ArrayLiteral(points));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<api::v1::UsagePoint>> PostgresUsageStore::Read(
    const std::string& subject_id, const Window& window) {
  std::vector<api::v1::UsagePoint> points;
  if (!base::IsUuid(subject_id)) return points;
  return Transact(context_, [&](pqxx::work& tx) -> absl::StatusOr<decltype(points)> {
    points.clear();
    for (const auto& row : tx.exec_params(
             "SELECT extract(epoch FROM time)::bigint AS seconds, point FROM usage_points"
             " WHERE subject_id = $1 AND ($2::timestamptz IS NULL OR time > $2)"
             " AND ($3::timestamptz IS NULL OR time < $3) ORDER BY time DESC LIMIT $4",
             subject_id,
             db::Time(window.after),
             db::Time(window.before),
             window.limit)) {
      api::v1::UsagePoint& point = points.emplace_back();
      if (!point.ParseFromString(db::Blob(row["point"]))) {
        return base::Internal(fmt::format("usage_points.point:{}: not a UsagePoint", subject_id));
      }
      point.mutable_time()->set_seconds(db::As<std::int64_t>(row["seconds"]));
    }
    std::reverse(points.begin(), points.end());
    return points;
  });
}

}  // namespace dstack::server
