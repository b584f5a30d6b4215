#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/random.h"
#include "libs/base/secret.h"
#include "libs/exec/executor.h"
#include "libs/exec/timer.h"
#include "services/server/agents/host_installer.h"
#include "services/server/agents/host_transport.h"
#include "services/server/logs/log_ingest.h"
#include "services/server/ports/file_store.h"
#include "services/server/ports/identity_store.h"
#include "services/server/ports/instance_store.h"
#include "services/server/ports/job_store.h"
#include "services/server/ports/log_store.h"
#include "services/server/usage/usage_recorder.h"

namespace dstack::server {

// A host that is this very machine, reached through a private sshd.
struct LocalHostAccess {
  std::uint16_t port = 0;
  // Given to its shim, for example DOCKER_HOST.
  std::vector<std::pair<std::string, std::string>> shim_env;
};

// Settings of the server, and times that decide what a silence means.
struct AgentOptions {
  std::string server_id;
  std::string replica_id;
  std::string docker_image;  // of runs with `docker: true`
  // A silent host's jobs are failed after this; a run may say otherwise.
  std::chrono::milliseconds host_lost_after = std::chrono::minutes(15);
  // A lost connection that is back before this was none.
  std::chrono::milliseconds unreachable_after{2'000};
  // A new host that cannot be set up is given up after this, counted from its creation.
  std::chrono::milliseconds provisioning_timeout = std::chrono::minutes(10);
  // For the shim to answer after its start.
  std::chrono::milliseconds shim_start_timeout{15'000};
  // For the runner to answer after its container's start.
  std::chrono::milliseconds runner_start_timeout = std::chrono::minutes(2);
  // Added to the grace of a stop before the container is killed, and to that before the job is
  // declared ended.
  std::chrono::milliseconds stop_slack{15'000};
  // For the logs of a container that has ended.
  std::chrono::milliseconds log_delivery_timeout{30'000};
  // The same when its command most likely never started.
  std::chrono::milliseconds unstarted_log_timeout{5'000};
  // For a container to go by itself after everything was acknowledged.
  std::chrono::milliseconds leave_timeout{10'000};
  // A host that is to be given up and does not answer is forgotten after this.
  std::chrono::milliseconds abandon_after{30'000};
  // Safety net behind the notifications.
  std::chrono::milliseconds sweep_interval{5'000};
  std::optional<LocalHostAccess> local_host;
};

// What the drivers of hosts share. Everything is thread-safe and outlives them.
struct AgentServices {
  InstanceStore& instances;
  JobStore& jobs;
  LogStore& logs;
  FileStore& files;
  IdentityStore& identities;
  LogIngest& ingest;
  UsageRecorder& usage;
  HostTransports& transports;
  HostInstaller& installer;
  const base::Clock& clock;
  base::Random& random;
  exec::Executor& pool;          // drivers; tasks of some milliseconds
  exec::Executor& connect_pool;  // connections and installations; tasks of seconds
  exec::TimerQueue& timers;
  base::Secret token_key;
  AgentOptions options;
};

}  // namespace dstack::server
