#pragma once

#include "services/server/ports/usage_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// UsageStore on PostgreSQL.
class PostgresUsageStore final : public UsageStore {
 public:
  explicit PostgresUsageStore(const StoreContext& context) : context_(context) {}

  absl::Status Append(const std::vector<Row>& rows) override;
  absl::StatusOr<std::vector<api::v1::UsagePoint>> Read(const std::string& subject_id,
                                                        const Window& window) override;

 private:
  const StoreContext context_;
};

}  // namespace dstack::server
