#include "services/server/agents/host_claimer.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

// Dropped this long before the lease ends: what is under way needs a moment.
constexpr std::chrono::milliseconds kLeaseMargin{500};
constexpr std::chrono::milliseconds kWatchInterval{500};

}  // namespace

HostClaimer::HostClaimer(const Dependencies& dependencies, Options options)
    : dependencies_(dependencies),
      options_(std::move(options)),
      connect_pool_("host-conn", options_.connect_threads),
      pool_("hosts", options_.driver_threads),
      services_{dependencies_.instances,
                dependencies_.jobs,
                dependencies_.logs,
                dependencies_.files,
                dependencies_.identities,
                dependencies_.ingest,
                dependencies_.usage,
                dependencies_.transports,
                dependencies_.installer,
                dependencies_.clock,
                dependencies_.random,
                pool_,
                connect_pool_,
                timers_,
                options_.token_key,
                options_.agents} {}

HostClaimer::~HostClaimer() { Stop(); }

absl::Status HostClaimer::Start() {
  const auto asked_at = dependencies_.clock.MonotonicNow();
  RETURN_IF_ERROR(dependencies_.instances.Heartbeat(
      options_.agents.replica_id, options_.lease, /*is_new=*/true));
  {
    base::MutexLock lock(mutex_);
    leased_until_ = asked_at + options_.lease;
    is_registered_ = true;
  }
  subscription_ = dependencies_.notifications.Subscribe(
      channel::kHost, [this](const std::string& payload) { OnNotification(payload); });
  WatchLease();
  thread_ = std::jthread([this](const std::stop_token& stop) {
    exec::SetThreadName("host-claimer");
    Run(stop);
  });
  return absl::OkStatus();
}

void HostClaimer::Stop() {
  if (!thread_.joinable()) return;
  subscription_.reset();
  thread_.request_stop();
  {
    base::MutexLock lock(mutex_);
    changed_.NotifyAll();
  }
  thread_.join();
  DropAll();
  Drivers ended;
  {
    base::MutexLock lock(mutex_);
    is_stopping_ = true;
    ended.swap(drivers_);
  }
  ended.clear();
  const absl::Status retired = dependencies_.instances.Retire(options_.agents.replica_id);
  if (!retired.ok()) telemetry::Warn("the hosts could not be given back", {{"error", retired}});
}

void HostClaimer::OnNotification(const std::string& payload) {
  base::MutexLock lock(mutex_);
  const auto it = drivers_.find(payload);
  if (it != drivers_.end()) {
    it->second->Wake();
    return;
  }
  if (payload.empty()) {
    for (const auto& [id, driver] : drivers_) driver->Wake();
  }
  is_woken_ = true;
  changed_.NotifyAll();
}

void HostClaimer::Run(const std::stop_token& stop) {
  while (WaitForTurn(stop)) {
    const bool is_leased = KeepLease();
    RemoveDone();
    if (is_leased) ClaimHosts();
  }
}

bool HostClaimer::WaitForTurn(const std::stop_token& stop) {
  base::MutexLock lock(mutex_);
  const auto deadline = base::DeadlineIn(options_.heartbeat_interval);
  while (!is_woken_ && !stop.stop_requested()) {
    if (!changed_.WaitUntil(mutex_, deadline)) break;
  }
  is_woken_ = false;
  return !stop.stop_requested();
}

bool HostClaimer::KeepLease() {
  bool is_new = false;
  {
    base::MutexLock lock(mutex_);
    is_new = !is_registered_;
  }
  const auto asked_at = dependencies_.clock.MonotonicNow();
  const absl::Status kept =
      dependencies_.instances.Heartbeat(options_.agents.replica_id, options_.lease, is_new);
  if (kept.ok()) {
    base::MutexLock lock(mutex_);
    leased_until_ = asked_at + options_.lease;
    is_registered_ = true;
    return true;
  }
  telemetry::Warn("the lease of this server cannot be renewed", {{"error", kept}});
  if (!absl::IsNotFound(kept)) return false;
  DropAll();
  base::MutexLock lock(mutex_);
  is_registered_ = false;
  is_woken_ = true;
  return false;
}

// Runs beside the claimer, which may hang in a call to the database.
void HostClaimer::WatchLease() {
  bool is_over = false;
  {
    base::MutexLock lock(mutex_);
    if (is_stopping_) return;
    is_over = is_registered_ && !drivers_.empty() &&
              dependencies_.clock.MonotonicNow() + kLeaseMargin >= leased_until_;
  }
  if (is_over) {
    telemetry::Warn("the lease of this server is over: its hosts are dropped");
    DropAll();
  }
  watch_timer_.CallAfter(kWatchInterval, [this] { WatchLease(); });
}

void HostClaimer::ClaimHosts() {
  auto claimed = dependencies_.instances.Claim(options_.agents.replica_id, options_.claims_at_once);
  if (!claimed.ok()) {
    telemetry::Warn("hosts cannot be claimed", {{"error", claimed.status()}});
    return;
  }
  Drivers replaced;
  base::MutexLock lock(mutex_);
  for (ClaimedHost& host : *claimed) {
    const std::string id = host.instance.id.str();
    auto& driver = drivers_[id];
    if (driver != nullptr) {
      driver->BeginStop();
      replaced[id] = std::move(driver);
    }
    driver = std::make_unique<HostDriver>(services_, std::move(host));
  }
  // There may be more.
  if (claimed->size() == options_.claims_at_once) is_woken_ = true;
}

void HostClaimer::RemoveDone() {
  // Destroyed outside of the lock: a destructor waits for its driver's last task.
  Drivers done;
  base::MutexLock lock(mutex_);
  for (auto it = drivers_.begin(); it != drivers_.end();) {
    if (!it->second->IsDone()) {
      ++it;
      continue;
    }
    done.insert(drivers_.extract(it++));
  }
}

void HostClaimer::DropAll() {
  base::MutexLock lock(mutex_);
  for (const auto& [id, driver] : drivers_) driver->BeginStop();
}

HostClaimer::Counts HostClaimer::counts() const {
  base::MutexLock lock(mutex_);
  Counts counts;
  counts.owned = drivers_.size();
  for (const auto& [id, driver] : drivers_) counts.ready += driver->IsReadyNow() ? 1 : 0;
  return counts;
}

}  // namespace dstack::server
