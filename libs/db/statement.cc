#include "libs/db/statement.h"

#include <functional>
#include <vector>

#include <fmt/format.h>

#include "libs/db/params.h"

namespace dstack::db {

Connection::Connection(const std::string& conninfo) : pqxx::connection(conninfo) {
  pqxx::nontransaction tx(*this);
  can_prepare_ = tx.exec1("SELECT pg_backend_pid()")[0].as<int>() == backendpid();
}

void Connection::SendNotifications() {
  if (notifications_.empty()) return;
  std::vector<std::string> channels;
  std::vector<std::string> payloads;
  for (const auto& [channel, payload] : notifications_) {
    channels.push_back(channel);
    payloads.push_back(payload);
  }
  notifications_.clear();
  pqxx::nontransaction tx(*this);
  ExecPrepared(tx,
               "SELECT pg_notify(n.channel, n.payload)"
               " FROM unnest($1::text[], $2::text[]) AS n (channel, payload)",
               ArrayLiteral(channels),
               ArrayLiteral(payloads));
}

void NotifyAfterCommit(pqxx::transaction_base& tx, std::string channel, std::string payload) {
  static_cast<Connection&>(tx.conn()).notifications().emplace(std::move(channel),
                                                              std::move(payload));
}

std::string PreparedName(pqxx::transaction_base& tx, const std::string& sql) {
  auto& connection = static_cast<Connection&>(tx.conn());
  if (!connection.can_prepare()) return {};
  std::string name = fmt::format("s{:016x}", std::hash<std::string>()(sql));
  // Does nothing when it is there already; sent to the server at the first use.
  connection.prepare(name, sql);
  return name;
}

}  // namespace dstack::db
