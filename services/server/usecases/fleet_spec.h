#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dstack/api/v1/fleet.pb.h"

#include "absl/status/statusor.h"
#include "services/server/domain/fleet/fleet.h"
#include "services/server/ports/fleet_store.h"

namespace dstack::server {

// A fleet document with its hosts worked out.
struct ResolvedFleet {
  // Defaults filled in; keys taken out of the document into ssh_keys, where they have the path as
  // name.
  api::v1::FleetSpec spec;
  // In the order of the document, without ids.
  std::vector<NewHost> hosts;
};

// Checks a fleet as a client sent it. INVALID_ARGUMENT/INVALID_FIELDS lists every wrong field with
// its path in the user's document: users and keys missing, keys that need a passphrase, hosts named
// twice, ports, blocks, and parts of the format that need a cloud backend. With `needs_keys` false
// (a plan) the keys themselves may be absent. Pure.
absl::StatusOr<ResolvedFleet> ResolveFleet(const api::v1::FleetSpec& spec, bool needs_keys);

// Why a private key cannot be used; empty when it can. "needs a passphrase", "is no private key in
// PEM or OpenSSH format".
std::string PrivateKeyProblem(const std::string& private_key);

// What turns the live hosts of a fleet into those of the document. A host is the pair of host name
// and port.
struct HostChange {
  std::vector<NewHost> added;
  std::vector<InstanceId> removed;
};
HostChange DiffHosts(const std::vector<Instance>& live, const std::vector<NewHost>& wanted);

}  // namespace dstack::server
