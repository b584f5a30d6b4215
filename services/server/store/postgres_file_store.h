#pragma once

#include <string>
#include <vector>

#include "services/server/ports/file_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Uploads in PostgreSQL: content once, who may read it per user. See FileStore.
class PostgresFileStore final : public FileStore {
 public:
  explicit PostgresFileStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<std::vector<std::string>> FindMissing(
      const UserId& user, const std::vector<std::string>& digests) override;
  absl::Status Put(const UserId& user,
                   const std::string& digest,
                   const std::string& content) override;
  absl::StatusOr<std::string> Get(const UserId& user, const std::string& digest) override;

 private:
  const StoreContext context_;
};

}  // namespace dstack::server
