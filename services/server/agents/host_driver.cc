#include "services/server/agents/host_driver.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/server/domain/offer/blocks.h"
#include "services/server/domain/proto_time.h"

namespace dstack::server {
namespace {

using std::chrono::milliseconds;
using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

constexpr base::BackoffPolicy kConnectBackoff{milliseconds(200), milliseconds(30'000), 2.0, 0.5};
constexpr base::BackoffPolicy kSessionBackoff{milliseconds(5), milliseconds(500), 2.0, 0.2};
constexpr milliseconds kStoreRetry{1'000};
constexpr milliseconds kClockTolerance{5'000};
// A host keeps fewer samples than this while nobody listens.
constexpr std::chrono::hours kOldestSample{1};

std::string RuntimeName(shim::v1::ContainerRuntime runtime) {
  switch (runtime) {
    case shim::v1::CONTAINER_RUNTIME_DOCKER:
      return "docker";
    case shim::v1::CONTAINER_RUNTIME_PROCESS:
      return "process";
    default:
      return "";
  }
}

}  // namespace

HostDriver::HostDriver(AgentServices& services, ClaimedHost host)
    : services_(services),
      instance_(std::move(host.instance)),
      connection_(std::move(host.connection)),
      connect_backoff_(kConnectBackoff, services.random),
      session_backoff_(kSessionBackoff, services.random),
      upgrade_(
          instance_.id.str(),
          {.send = [this](shim::v1::SessionRequest request) { SendToShim(std::move(request)); },
           .load_agents = [this] { LoadAgents(); },
           .on_failed =
               [this](const std::string& message) {
                 ShowMessage("the agents were not upgraded: " + message);
               }}),
      executor_(services.pool, services.timers) {
  mailbox_ = std::make_shared<Mailbox>(executor_);
  mailbox_->Post([this] {
    if (ReloadJobs()) Connect();
    Sweep();
  });
}

HostDriver::~HostDriver() {
  BeginStop();
  // What is posted from now on is dropped; what was posted before still runs.
  mailbox_->Close();
  executor_.Drain();
}

void HostDriver::BeginStop() {
  stop_.request_stop();
  mailbox_->Post([this] { Finish(); });
}

void HostDriver::Finish() {
  if (state_ == State::kStopped) return;
  Disconnect();
  state_ = State::kStopped;
  jobs_.clear();
  is_done_ = true;
}

void HostDriver::Wake() {
  // One reload serves all wake-ups before it.
  if (is_wake_posted_.exchange(true)) return;
  mailbox_->Post([this] {
    is_wake_posted_ = false;
    ReloadAll();
  });
}

void HostDriver::ReloadAll() {
  if (state_ == State::kStopped) return;
  ReloadJobs();
  ReloadInstance();
}

void HostDriver::Sweep() {
  executor_.PostAfter(services_.options.sweep_interval, [this] {
    if (state_ == State::kStopped) return;
    ReloadAll();
    Sweep();
  });
}

bool HostDriver::ReloadJobs() {
  auto rows = services_.jobs.LoadOfHost(instance_.id);
  if (!rows.ok()) {
    telemetry::Warn("the jobs of a host cannot be loaded",
                    {{"instance_id", instance_.id}, {"error", rows.status()}});
    executor_.PostAfter(kStoreRetry, [this] { Wake(); });
    // The first attempt to connect does not wait for it: jobs come with the next reload.
    return true;
  }
  std::set<std::string> present;
  for (JobAndRun& row : *rows) {
    const std::string id = row.job.id.str();
    present.insert(id);
    auto& driver = jobs_[id];
    if (driver == nullptr) {
      driver = std::make_shared<JobDriver>(
          services_, static_cast<JobHost&>(*this), executor_, mailbox_, std::move(row));
      const auto stranger = strangers_.find(id);
      if (stranger != strangers_.end()) {
        driver->OnTaskStatus(stranger->second);
        strangers_.erase(stranger);
      }
    } else {
      driver->SetRow(std::move(row));
    }
  }
  // Gone from the list: released, or their run was deleted.
  std::erase_if(jobs_, [&present](const auto& entry) { return present.count(entry.first) == 0; });
  // A driver may lose the lease while it works, which empties the map.
  const auto drivers = jobs_;
  for (const auto& [id, driver] : drivers) driver->Drive();
  DropReleased();
  return state_ != State::kStopped;
}

void HostDriver::DropReleased() {
  std::erase_if(jobs_, [](const auto& entry) { return entry.second->IsReleased(); });
  if (instance_.status == INSTANCE_STATUS_TERMINATING) Leave();
}

void HostDriver::SendToShim(shim::v1::SessionRequest request) {
  if (session_ != nullptr) session_->Send(std::move(request));
}

absl::StatusOr<std::string> HostDriver::Forward(const std::string& remote_socket) {
  if (transport_ == nullptr) return base::Unavailable("the host is not connected");
  return transport_->Forward(remote_socket);
}

void HostDriver::RemoveForward(const std::string& remote_socket) {
  if (transport_ != nullptr) transport_->RemoveForward(remote_socket);
}

void HostDriver::OnLeaseLost() {
  if (state_ == State::kStopped) return;
  telemetry::Warn("another replica drives the host now", {{"instance_id", instance_.id}});
  // Later, because a job's driver is at work.
  mailbox_->Post([this] { Finish(); });
}

void HostDriver::OnTaskStatus(const shim::v1::TaskStatus& status) {
  const auto it = jobs_.find(status.task_id());
  if (it == jobs_.end()) {
    strangers_[status.task_id()] = status;
    if (state_ == State::kReady) FenceStrangers();
    return;
  }
  const auto driver = it->second;
  driver->OnTaskStatus(status);
  DropReleased();
}

void HostDriver::OnTaskRemoved(const std::string& task_id) {
  strangers_.erase(task_id);
  const auto it = jobs_.find(task_id);
  if (it == jobs_.end()) {
    DropReleased();
    return;
  }
  const auto driver = it->second;
  driver->OnTaskRemoved();
  DropReleased();
}

void HostDriver::OnCommandFailed(const shim::v1::CommandFailed& failure) {
  const auto it = jobs_.find(failure.task_id());
  if (it == jobs_.end()) return;
  const auto driver = it->second;
  driver->OnCommandFailed(failure);
  DropReleased();
}

// Tasks that no job of this host stands for: late containers of jobs that were given up, or of runs
// that were deleted.
void HostDriver::FenceStrangers() {
  const auto strangers = strangers_;
  for (const auto& [id, status] : strangers) {
    // It may have been assigned since the jobs were loaded last.
    const auto row = services_.jobs.Load(JobId(id));
    const bool is_ours = row.ok() && row->job.instance_id == instance_.id && !row->job.is_released;
    if (is_ours) {
      Wake();
    } else if (row.ok() || absl::IsNotFound(row.status())) {
      Fence(status);
    }
  }
}

void HostDriver::Fence(const shim::v1::TaskStatus& status) {
  shim::v1::SessionRequest request;
  if (status.state() == shim::v1::TASK_STATE_TERMINATED) {
    request.mutable_remove_task()->set_task_id(status.task_id());
  } else {
    telemetry::Info("a task without a job is ended",
                    {{"instance_id", instance_.id}, {"task_id", status.task_id()}});
    request.mutable_terminate_task()->set_task_id(status.task_id());
    request.mutable_terminate_task()->set_message("no job stands for this task");
  }
  SendToShim(std::move(request));
}

void HostDriver::OnSyncDone() {
  if (state_ == State::kReady) return;
  state_ = State::kReady;
  broken_since_.reset();
  last_failure_.clear();
  connect_backoff_.Reset();
  StoreFacts();
  if (state_ != State::kReady) return;
  // Whoever is told that the host is ready finds its facts.
  is_ready_ = true;
  // Clears the mark on jobs as well, before they are read.
  const absl::Status cleared = services_.jobs.SetUnreachable(epoch(), false, services_.clock.Now());
  if (!cleared.ok())
    telemetry::Warn("jobs cannot be marked as reachable",
                    {{"instance_id", instance_.id}, {"error", cleared}});
  ReloadJobs();
  if (state_ == State::kReady) FenceStrangers();
  if (state_ == State::kReady) StoreDrain();
  CarryDrain();
  if (state_ == State::kReady) upgrade_.OnSynced();
}

void HostDriver::OnDrainStatus(const shim::v1::DrainStatus& status) {
  drain_report_ = {status.is_draining(), status.reason(), status.live_tasks()};
  // Before that the host's row may be older than the session.
  if (state_ != State::kReady) return;
  StoreDrain();
  CarryDrain();
}

void HostDriver::StoreDrain() {
  Instance changed = instance_;
  if (!ApplyDrainReport(drain_report_, services_.clock.Now(), changed)) return;
  const bool was_confirmed = instance_.is_drain_confirmed;
  UpdateInstance([this](Instance& instance) {
    return ApplyDrainReport(drain_report_, services_.clock.Now(), instance);
  });
  // The host has forgotten what it was told in this session.
  if (was_confirmed && !instance_.is_drain_confirmed) is_drain_carried_ = false;
}

// Tells the host the wish of the row, once in a session and again when either side changes.
void HostDriver::CarryDrain() {
  if (state_ != State::kReady) return;
  if (instance_.is_drain_confirmed && IsAsWished(instance_, drain_report_)) return;
  std::optional<std::string> wish;
  if (instance_.drain) wish = instance_.drain->reason;
  if (is_drain_carried_ && carried_drain_ == wish) return;
  is_drain_carried_ = true;
  carried_drain_ = wish;
  shim::v1::SessionRequest request;
  request.mutable_drain()->set_is_draining(wish.has_value());
  request.mutable_drain()->set_reason(wish.value_or(""));
  SendToShim(std::move(request));
}

// A batch may hold what was measured while the session was down.
void HostDriver::OnHostMetrics(const shim::v1::HostMetricsBatch& batch) {
  if (batch.samples().empty()) return;
  const TimePoint now = services_.clock.Now();
  const TimePoint newest = FromProto(batch.samples(batch.samples_size() - 1).time());
  // Kept while it is about right, so that samples keep their distances.
  if (std::chrono::abs(newest + clock_offset_ - now) > kClockTolerance)
    clock_offset_ = now - newest;
  const std::uint32_t cpus = instance_.resources ? instance_.resources->cpus() : 0;
  for (const shim::v1::HostMetrics& sample : batch.samples()) {
    const TimePoint time = FromProto(sample.time()) + clock_offset_;
    // Of no clock that goes: such a time would not do in the database.
    if (time > now + kClockTolerance || time < now - kOldestSample) continue;
    if (auto point = usage_.Add(SampleOfHost(sample, cpus, time)))
      services_.usage.Add(instance_.id.str(), *std::move(point));
    for (const shim::v1::TaskMetrics& task : sample.tasks()) {
      const auto job = jobs_.find(task.task_id());
      if (job != jobs_.end()) job->second->OnTaskMetrics(task, time);
    }
  }
}

void HostDriver::ShowMessage(const std::string& message) {
  if (state_ != State::kReady) return;
  UpdateInstance([&message](Instance& instance) {
    return std::exchange(instance.status_message, message) != message;
  });
}

void HostDriver::OnHostFacts(const shim::v1::HostFacts& facts) {
  facts_ = facts;
  if (state_ == State::kReady) StoreFacts();
}

bool HostDriver::UpdateInstance(const InstanceStore::Change& change) {
  auto stored = services_.instances.Update(epoch(), services_.clock.Now(), change);
  if (stored.ok()) {
    instance_ = *std::move(stored);
    return true;
  }
  if (base::Reason(stored.status()) == "LEASE_LOST") {
    OnLeaseLost();
  } else {
    telemetry::Warn("a host's state cannot be stored",
                    {{"instance_id", instance_.id}, {"error", stored.status()}});
  }
  return false;
}

// While the host still looks for its accelerators, those of the last time stand in for them.
common::v1::Resources HostDriver::KnownResources() const {
  common::v1::Resources resources = facts_.resources();
  if (facts_.is_probing() && instance_.resources &&
      instance_.resources->gpus_size() > resources.gpus_size()) {
    *resources.mutable_gpus() = instance_.resources->gpus();
  }
  return resources;
}

void HostDriver::StoreFacts() {
  const auto blocks = TotalBlocks(instance_.wanted_blocks, KnownResources());
  if (!blocks.ok()) {
    GiveUpIfOverdue(blocks.status(), /*is_hopeless=*/true);
    return;
  }
  const bool is_stored = UpdateInstance([this, total = *blocks](Instance& instance) {
    if (instance.status == INSTANCE_STATUS_PENDING ||
        instance.status == INSTANCE_STATUS_PROVISIONING) {
      instance.status = instance.busy_blocks > 0 ? INSTANCE_STATUS_BUSY : INSTANCE_STATUS_IDLE;
    }
    instance.resources = KnownResources();
    instance.container_runtime = RuntimeName(facts_.container_runtime());
    instance.has_privileged = has_privileged_;
    instance.shim_version = facts_.shim_version();
    instance.total_blocks = total;
    instance.is_unreachable = false;
    instance.status_message.clear();
    return true;
  });
  if (is_stored || state_ != State::kReady) return;
  executor_.PostAfter(kStoreRetry, [this] {
    if (state_ == State::kReady) StoreFacts();
  });
}

bool HostDriver::WasSetUp() const {
  return instance_.status != INSTANCE_STATUS_PENDING &&
         instance_.status != INSTANCE_STATUS_PROVISIONING && instance_.resources.has_value();
}

void HostDriver::ReloadInstance() {
  if (state_ == State::kStopped) return;
  auto loaded = services_.instances.Load(instance_.id);
  if (!loaded.ok()) return;
  if (loaded->owner_epoch != instance_.owner_epoch) {
    OnLeaseLost();
    return;
  }
  instance_ = *std::move(loaded);
  if (IsFinal(instance_.status)) {
    Finish();
  } else if (instance_.status == INSTANCE_STATUS_TERMINATING) {
    DropReleased();
  } else {
    CarryDrain();
  }
}

// The host is to be given up: as soon as no job holds it, everything of ours is removed from it.
void HostDriver::Leave() {
  if (state_ == State::kLeaving || state_ == State::kStopped) return;
  if (!leaving_since_.has_value()) leaving_since_ = services_.clock.MonotonicNow();
  if (state_ == State::kReady) {
    // Tasks go first; each one that is gone leads here again.
    if (jobs_.empty() && strangers_.empty()) Uninstall();
    return;
  }
  const auto deadline = *leaving_since_ + services_.options.abandon_after;
  const auto now = services_.clock.MonotonicNow();
  if (!WasSetUp() && transport_ == nullptr && jobs_.empty()) {
    MarkTerminated(instance_.termination_reason, instance_.status_message);
  } else if (now >= deadline) {
    Abandon("the host was given up");
    MarkTerminated(instance_.termination_reason,
                   "the host did not answer: what was installed on it is left there");
  } else if (!is_leave_watched_) {
    is_leave_watched_ = true;
    executor_.PostAfter(deadline - now, [this] {
      is_leave_watched_ = false;
      ReloadInstance();
    });
  }
}

void HostDriver::Uninstall() {
  state_ = State::kLeaving;
  services_.connect_pool.Post([mailbox = mailbox_,
                               this,
                               transport = transport_,
                               request = MakeInstallRequest(),
                               stop = stop_.get_token(),
                               &installer = services_.installer] {
    absl::Status status = installer.Uninstall(*transport, request, stop);
    mailbox->Post([this, status] { OnLeft(status); });
  });
}

void HostDriver::OnLeft(const absl::Status& status) {
  if (state_ != State::kLeaving) return;
  if (!status.ok())
    telemetry::Warn("a host could not be cleaned up",
                    {{"instance_id", instance_.id}, {"error", status}});
  MarkTerminated(instance_.termination_reason,
                 status.ok() ? "" : std::string(base::Message(status)));
}

void HostDriver::MarkTerminated(InstanceTerminationReason reason, const std::string& message) {
  const bool is_stored = UpdateInstance([reason, &message](Instance& instance) {
    instance.status = INSTANCE_STATUS_TERMINATED;
    if (instance.termination_reason == INSTANCE_TERMINATION_REASON_UNSPECIFIED)
      instance.termination_reason = reason;
    if (!message.empty()) instance.status_message = message;
    return true;
  });
  if (is_stored) {
    telemetry::Info(
        "a host is gone",
        {{"instance_id", instance_.id}, {"host", instance_.hostname}, {"message", message}});
    Finish();
    return;
  }
  executor_.PostAfter(kStoreRetry, [this] {
    if (state_ == State::kLeaving) state_ = State::kWaiting;
    ReloadInstance();
  });
}

// The host is beyond reach for good: its jobs end with it.
void HostDriver::Abandon(const std::string& message) {
  const auto drivers = jobs_;
  for (const auto& [id, driver] : drivers) driver->Abandon(message);
  std::erase_if(jobs_, [](const auto& entry) { return entry.second->IsReleased(); });
}

}  // namespace dstack::server
