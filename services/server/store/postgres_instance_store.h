#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "services/server/ports/instance_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Hosts and their owners in PostgreSQL. See InstanceStore.
class PostgresInstanceStore final : public InstanceStore {
 public:
  explicit PostgresInstanceStore(const StoreContext& context) : context_(context) {}

  absl::Status Heartbeat(const std::string& replica_id,
                         std::chrono::milliseconds lease,
                         bool is_new) override;
  absl::Status Retire(const std::string& replica_id) override;
  absl::StatusOr<std::vector<ClaimedHost>> Claim(const std::string& replica_id,
                                                 std::size_t limit) override;
  absl::StatusOr<Instance> Load(const InstanceId& id) override;
  absl::StatusOr<HostConnection> LoadConnection(const InstanceId& id) override;
  absl::StatusOr<Instance> Update(const HostEpoch& host,
                                  TimePoint now,
                                  const Change& change) override;
  absl::StatusOr<Instance> SetDrain(const InstanceId& id,
                                    const std::optional<std::string>& reason,
                                    const UserId& actor,
                                    TimePoint now) override;
  absl::StatusOr<Page> List(const Filter& filter) override;

 private:
  absl::StatusOr<std::vector<HostConnection>> LoadConnections(pqxx::work& tx,
                                                              const std::vector<InstanceId>& ids);
  absl::StatusOr<Instance> UpdateInside(pqxx::work& tx,
                                        const HostEpoch& host,
                                        TimePoint now,
                                        const Change& change);

  const StoreContext context_;
};

}  // namespace dstack::server
