#include "services/server/store/outbox.h"

#include <optional>

#include "libs/db/params.h"
#include "libs/db/statement.h"

namespace dstack::server {
namespace {

// Columns of a table, each as an array parameter.
struct Columns {
  explicit Columns(std::size_t count) : values(count) {}
  std::string Array(std::size_t index) const { return db::ArrayLiteral(values[index]); }

  std::vector<std::vector<std::optional<std::string>>> values;
};

}  // namespace

void Outbox::Notify(const char* channel, std::string payload) {
  notifications_.emplace(channel, std::move(payload));
}

void Outbox::AddEvent(const ProjectId& project,
                      Target target,
                      std::string message,
                      const UserId& actor) {
  events_.push_back({project, actor, std::move(target), std::move(message)});
}

void Outbox::Flush(pqxx::work& tx, TimePoint now) {
  if (!events_.empty()) WriteEvents(tx, now);
  for (const auto& [channel, payload] : notifications_) {
    db::NotifyAfterCommit(tx, channel, payload);
  }
  events_.clear();
  notifications_.clear();
}

void Outbox::WriteEvents(pqxx::work& tx, TimePoint now) const {
  Columns columns(6);
  for (const Event& event : events_) {
    columns.values[0].push_back(event.project.str());
    columns.values[1].push_back(event.actor.empty() ? std::nullopt
                                                    : std::optional(event.actor.str()));
    columns.values[2].push_back(event.target.type);
    columns.values[3].push_back(event.target.id);
    columns.values[4].push_back(db::CleanText(event.target.name));
    columns.values[5].push_back(db::CleanText(event.message));
  }
  db::ExecPrepared(
      tx,
      "INSERT INTO events"
      " (project_id, created_at, actor_id, target_type, target_id, target_name, message)"
      " SELECT e.project_id, $7, e.actor_id, e.target_type, e.target_id, e.target_name, e.message"
      " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[])"
      " AS e (project_id, actor_id, target_type, target_id, target_name, message)",
      columns.Array(0),
      columns.Array(1),
      columns.Array(2),
      columns.Array(3),
      columns.Array(4),
      columns.Array(5),
      db::Time(now));
}

}  // namespace dstack::server
