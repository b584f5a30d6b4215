// `fleet list`, `fleet get`, `fleet drain`, `fleet undrain`, `fleet delete`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/api/v1/fleet.pb.h"

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct ListFleetsOptions {
  std::string project;
  bool verbose = false;
  bool watch = false;
  bool json = false;
};
absl::StatusOr<int> ListFleets(const Context& context, const ListFleetsOptions& options);

struct GetFleetOptions {
  std::string project;
  // Exactly one is set.
  std::string name;
  std::string id;
  // Always; other forms may come.
  bool is_json = false;
};
absl::StatusOr<int> GetFleet(const Context& context, const GetFleetOptions& options);

struct DeleteFleetOptions {
  std::string project;
  std::string name;
  // Only these; empty: the whole fleet.
  std::vector<uint32_t> instances;
  bool yes = false;
};
absl::StatusOr<int> DeleteFleet(const Context& context, const DeleteFleetOptions& options);

struct DrainFleetOptions {
  std::string project;
  std::string name;
  // Only these; empty: all of the fleet.
  std::vector<uint32_t> instances;
  std::string reason;  // of `drain`
};
// No new jobs on instances of the fleet.
absl::StatusOr<int> DrainFleet(const Context& context, const DrainFleetOptions& options);
// New jobs on them again.
absl::StatusOr<int> UndrainFleet(const Context& context, const DrainFleetOptions& options);

// Begins to delete the fleet; one that is gone already is no error.
absl::Status RequestFleetDelete(Connection& connection, const std::string& name);

// Deletes the fleet and waits until it is gone. Ctrl-C ends the waiting with CANCELLED, not the end
// of the fleet.
absl::Status DeleteFleetAndWait(Connection& connection,
                                const api::v1::Fleet& fleet,
                                Interrupts& interrupts);

// One fleet by name or, if that is empty, by id.
absl::StatusOr<api::v1::Fleet> FetchFleet(Connection& connection,
                                          const std::string& name,
                                          const std::string& id);

}  // namespace dstack::cli
