#include "libs/db/statement.h"

#include <functional>

#include <fmt/format.h>

namespace dstack::db {

Connection::Connection(const std::string& conninfo) : pqxx::connection(conninfo) {
  pqxx::nontransaction tx(*this);
  can_prepare_ = tx.exec1("SELECT pg_backend_pid()")[0].as<int>() == backendpid();
}

std::string PreparedName(pqxx::transaction_base& tx, const std::string& sql) {
  auto& connection = static_cast<Connection&>(tx.conn());
  if (!connection.can_prepare()) return {};
  const std::string name = fmt::format("s{:016x}", std::hash<std::string>()(sql));
  // Does nothing when it is there already; sent to the server at the first use.
  connection.prepare(name, sql);
  return name;
}

}  // namespace dstack::db
