#pragma once

#include <pqxx/pqxx>

#include "services/server/ports/retention_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// RetentionStore on PostgreSQL. Each kind is a transaction of its own.
class PostgresRetentionStore final : public RetentionStore {
 public:
  explicit PostgresRetentionStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<bool> ClaimTurn(std::chrono::milliseconds interval) override;
  absl::StatusOr<std::size_t> DeleteSome(const Retention& retention,
                                         std::size_t limit,
                                         TimePoint now) override;

 private:
  const StoreContext context_;
};

}  // namespace dstack::server
