#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "libs/base/random.h"
#include "services/server/ports/fleet_store.h"
#include "services/server/store/outbox.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// Fleets in PostgreSQL. See FleetStore.
class PostgresFleetStore final : public FleetStore {
 public:
  explicit PostgresFleetStore(const StoreContext& context) : context_(context) {}

  absl::StatusOr<Fleet> Apply(const FleetChange& change, TimePoint now) override;
  absl::StatusOr<Fleet> Load(const ProjectId& project,
                             const std::string& name,
                             const std::string& id) override;
  absl::StatusOr<Page> List(const ProjectId& project,
                            std::uint32_t page_size,
                            const std::string& page_token) override;
  absl::Status Delete(const ProjectId& project,
                      const std::vector<std::string>& names,
                      const std::vector<std::uint32_t>& instance_nums,
                      bool allow_missing,
                      TimePoint now) override;
  absl::StatusOr<bool> HasAny(const ProjectId& project) override;

 private:
  absl::StatusOr<Fleet> ApplyInside(pqxx::work& tx, const FleetChange& change, TimePoint now);
  // Both give the fleet without its hosts.
  absl::StatusOr<Fleet> CreateFleet(pqxx::work& tx,
                                    const FleetChange& change,
                                    const FleetId& id,
                                    TimePoint now);
  absl::StatusOr<Fleet> ChangeFleet(pqxx::work& tx, const FleetChange& change);
  void WriteKeys(pqxx::work& tx, const FleetId& fleet, const api::v1::FleetSpec& spec);
  absl::StatusOr<std::vector<Fleet>> FleetsFromRows(pqxx::work& tx, const pqxx::result& rows);
  absl::Status DeleteInside(pqxx::work& tx,
                            const ProjectId& project,
                            const std::vector<std::string>& names,
                            const std::vector<std::uint32_t>& instance_nums,
                            bool allow_missing,
                            Outbox& outbox);
  absl::StatusOr<Fleet> LoadInside(pqxx::work& tx, const FleetId& id);

  const StoreContext context_;
  base::SeededRandom random_;
};

}  // namespace dstack::server
