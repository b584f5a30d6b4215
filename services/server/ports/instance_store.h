#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/base/secret.h"
#include "services/server/domain/instance/instance.h"
#include "services/server/ports/job_store.h"

namespace dstack::server {

// How to reach a host over ssh. Keys are OpenSSH private keys in memory only.
struct SshHop {
  std::string hostname;
  std::uint16_t port = 22;
  std::string user;
  // Tried in this order: the fleet's key until the project's key is installed, then the project's.
  std::vector<base::Secret> private_keys;
  std::string host_key;  // pinned; empty: record on first contact
};

struct HostConnection {
  SshHop host;
  std::optional<SshHop> jump;
  std::string project_public_key;
  base::Secret project_private_key;
  // Environment of the fleet for its jobs.
  std::vector<std::pair<std::string, std::string>> env;
};

struct ClaimedHost {
  Instance instance;  // with the new owner_epoch
  HostConnection connection;
};

// Hosts, and which server process drives each of them. Thread-safe, blocking.
class InstanceStore {
 public:
  virtual ~InstanceStore() = default;

  // Registers the process and extends its lease to now + lease (database time). NOT_FOUND if the
  // lease had expired and other replicas may have taken its hosts: the caller must drop all of them
  // and may then register again with is_new.
  virtual absl::Status Heartbeat(const std::string& replica_id,
                                 std::chrono::milliseconds lease,
                                 bool is_new) = 0;
  // Gives all hosts back and removes the process: another replica may take over at once.
  virtual absl::Status Retire(const std::string& replica_id) = 0;
  // Takes hosts that nobody with a valid lease owns (not TERMINATED), raising their epoch.
  virtual absl::StatusOr<std::vector<ClaimedHost>> Claim(const std::string& replica_id,
                                                         std::size_t limit) = 0;
  virtual absl::StatusOr<Instance> Load(const InstanceId& id) = 0;
  virtual absl::StatusOr<HostConnection> LoadConnection(const InstanceId& id) = 0;
  // Loads FOR UPDATE under the epoch, changes, stores; ABORTED/LEASE_LOST for an old epoch. When
  // the instance becomes TERMINATED and it was the last one of a TERMINATING fleet, the fleet ends
  // too. Notifies watchers and, when it becomes IDLE, the scheduler.
  using Change = std::function<bool(Instance& instance)>;
  virtual absl::StatusOr<Instance> Update(const HostEpoch& host,
                                          TimePoint now,
                                          const Change& change) = 0;

  // Sets (with a reason) or lifts the wish that the host takes no new jobs, and wakes its owner.
  // NOT_FOUND/INSTANCE_NOT_FOUND, FAILED_PRECONDITION/INVALID_STATE for a host that is being given
  // up. Returns the instance after it.
  virtual absl::StatusOr<Instance> SetDrain(const InstanceId& id,
                                            const std::optional<std::string>& reason,
                                            const UserId& actor,
                                            TimePoint now) = 0;

  struct Filter {
    ProjectId project_id;
    std::string fleet_name;
    bool include_terminated = false;
    std::uint32_t page_size = 1000;
    std::string page_token;
  };
  struct Page {
    std::vector<Instance> instances;
    std::string next_page_token;
  };
  virtual absl::StatusOr<Page> List(const Filter& filter) = 0;
};

}  // namespace dstack::server
