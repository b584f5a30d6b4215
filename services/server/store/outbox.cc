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
  Columns events(6);
  for (const Event& event : events_) {
    events.values[0].push_back(event.project.str());
    events.values[1].push_back(event.actor.empty() ? std::nullopt
                                                   : std::optional(event.actor.str()));
    events.values[2].push_back(event.target.type);
    events.values[3].push_back(event.target.id);
    events.values[4].push_back(db::CleanText(event.target.name));
    events.values[5].push_back(db::CleanText(event.message));
  }
  Columns notes(2);
  for (const auto& [channel, payload] : notifications_) {
    notes.values[0].push_back(channel);
    notes.values[1].push_back(payload);
  }
  db::ExecPrepared(
      tx,
      "WITH written AS ("
      "  INSERT INTO events"
      "    (project_id, created_at, actor_id, target_type, target_id, target_name, message)"
      "  SELECT e.project_id, $7, e.actor_id, e.target_type, e.target_id, e.target_name, e.message"
      "  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[])"
      "    AS e (project_id, actor_id, target_type, target_id, target_name, message))"
      "SELECT pg_notify(n.channel, n.payload)"
      " FROM unnest($8::text[], $9::text[]) AS n (channel, payload)",
      events.Array(0),
      events.Array(1),
      events.Array(2),
      events.Array(3),
      events.Array(4),
      events.Array(5),
      db::Time(now),
      notes.Array(0),
      notes.Array(1));
  events_.clear();
  notifications_.clear();
}

}  // namespace dstack::server
