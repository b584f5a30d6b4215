#pragma once

#include <set>
#include <string>
#include <utility>

#include <pqxx/pqxx>

namespace dstack::db {

// A connection that knows whether statements can stay prepared on it.
class Connection final : public pqxx::connection {
 public:
  // Connects; throws as libpqxx does.
  explicit Connection(const std::string& conninfo);

  // True when each statement reaches the same session. A pooler in transaction mode (PgBouncer)
  // sends them to changing ones, where the prepared statement would be missing; it gives itself
  // away by a backend pid that is not that of the session.
  bool can_prepare() const { return can_prepare_; }

  // {channel, payload} to be sent when the present transaction has committed. Repeated ones are
  // sent once.
  std::set<std::pair<std::string, std::string>>& notifications() { return notifications_; }
  // Sends them in one statement. Throws as libpqxx does.
  void SendNotifications();

 private:
  bool can_prepare_ = false;
  std::set<std::pair<std::string, std::string>> notifications_;
};

// NOTIFY right after the COMMIT of `tx`, which InTransaction has given; dropped with a rollback.
//
// Not inside: COMMIT of a transaction that has notified holds a lock of the whole server until its
// WAL is on disk, so that all writers would wait for one another's flush and none could share it. A
// process that dies in between loses the notification; whoever waits looks again after a while.
void NotifyAfterCommit(pqxx::transaction_base& tx, std::string channel, std::string payload);

// Registers the statement on the connection unless it is there, and gives its name. Empty: the
// connection cannot prepare. `tx` runs on a connection of a Pool, as InTransaction gives it.
std::string PreparedName(pqxx::transaction_base& tx, const std::string& sql);

// exec_params for statements of the hot paths: parsed and planned once per connection, which is
// more than half of their cost. Only for texts from a small fixed set, and for those whose best
// plan does not depend on the parameters.
template <typename... Args>
pqxx::result ExecPrepared(pqxx::transaction_base& tx, const std::string& sql, Args&&... args) {
  const std::string name = PreparedName(tx, sql);
  if (name.empty()) return tx.exec_params(sql, std::forward<Args>(args)...);
  return tx.exec_prepared(name, std::forward<Args>(args)...);
}

}  // namespace dstack::db
