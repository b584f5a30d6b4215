// HostDriver: the way to the host, from the first attempt to the shim's session and back after each
// failure.

#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/ssh/keys.h"
#include "libs/telemetry/log.h"
#include "services/server/agents/host_driver.h"

namespace dstack::server {
namespace {

using std::chrono::milliseconds;
using namespace api::v1;  // NOLINT: the words of the contract read best without their package here

constexpr std::uint32_t kProtocolVersion = 1;
// Spreads the reconnects of many hosts that broke at the same time.
constexpr double kFirstRetryMs = 100;

// The shim refuses this server for good, or refuses its epoch.
bool IsRefusal(const absl::Status& status) {
  const std::string reason = base::Reason(status);
  return reason == "VERSION_MISMATCH" || absl::IsPermissionDenied(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

bool HostDriver::IsLocal() const {
  const auto& local = services_.options.local_host;
  return local.has_value() && connection_.host.hostname == "127.0.0.1" &&
         connection_.host.port == local->port;
}

InstallRequest HostDriver::MakeInstallRequest() const {
  InstallRequest request;
  if (IsLocal()) {
    // Its private sshd has the key already; the user's own authorized_keys is left alone.
    request.is_local = true;
    request.env = services_.options.local_host->shim_env;
  } else {
    request.public_key = connection_.project_public_key;
  }
  request.takes_over = is_takeover_due_;
  return request;
}

void HostDriver::ScheduleConnect(base::Duration delay) {
  state_ = State::kWaiting;
  const std::uint64_t attempt = ++attempt_;
  executor_.PostAfter(delay, [this, attempt] {
    if (attempt == attempt_ && state_ == State::kWaiting) Connect();
  });
}

void HostDriver::Connect() {
  if (stop_.stop_requested()) return;
  state_ = State::kConnecting;
  const std::uint64_t attempt = ++attempt_;
  if (instance_.status == INSTANCE_STATUS_PENDING) {
    UpdateInstance([](Instance& instance) {
      if (instance.status != INSTANCE_STATUS_PENDING) return false;
      instance.status = INSTANCE_STATUS_PROVISIONING;
      instance.status_message = "connecting";
      return true;
    });
  }
  auto on_broken = [mailbox = mailbox_, this, attempt](const absl::Status& status) {
    mailbox->Post([this, attempt, status] {
      if (attempt == attempt_) OnBroken(status);
    });
  };
  std::shared_ptr<HostTransport> transport =
      services_.transports.Make(instance_, connection_, std::move(on_broken));
  services_.connect_pool.Post([mailbox = mailbox_,
                               this,
                               attempt,
                               transport,
                               request = MakeInstallRequest(),
                               stop = stop_.get_token(),
                               &installer = services_.installer] {
    Connected result;
    result.transport = transport;
    const absl::Status connected = transport->Connect(stop);
    result.shim_socket = connected.ok() ? installer.Install(*transport, request, stop) : connected;
    if (!connected.ok()) result.transport.reset();
    mailbox->Post([this, attempt, result] {
      if (attempt == attempt_ && state_ == State::kConnecting) OnConnected(result);
    });
  });
}

void HostDriver::RecordHostKey(const std::string& key) {
  if (key.empty() || !connection_.host.host_key.empty()) return;
  connection_.host.host_key = key;
  const std::string fingerprint = ssh::Fingerprint(key).value_or("");
  telemetry::Info(
      "the key of a host is recorded",
      {{"instance_id", instance_.id}, {"host", instance_.hostname}, {"key", fingerprint}});
  UpdateInstance([&](Instance& instance) {
    if (!instance.host_key.empty()) return false;
    instance.host_key = key;
    instance.host_key_fingerprint = fingerprint;
    return true;
  });
}

void HostDriver::OnConnected(Connected result) {
  has_attempted_ = true;
  transport_ = std::move(result.transport);
  if (transport_ != nullptr) RecordHostKey(transport_->HostKey());
  if (!result.shim_socket.ok()) {
    const bool is_hopeless =
        transport_ != nullptr && absl::IsFailedPrecondition(result.shim_socket.status());
    OnConnectionFailed(result.shim_socket.status(), is_hopeless);
    return;
  }
  shim_socket_ = *std::move(result.shim_socket);
  shim_deadline_ = services_.clock.MonotonicNow() + services_.options.shim_start_timeout;
  session_backoff_.Reset();
  OpenSession();
}

void HostDriver::OpenSession() {
  state_ = State::kOpening;
  has_hello_ = false;
  strangers_.clear();
  drain_report_ = {};
  is_drain_carried_ = false;
  ShimSession::Options options;
  auto socket = transport_->Forward(shim_socket_);
  if (!socket.ok()) {
    OnConnectionFailed(socket.status(), /*is_hopeless=*/false);
    return;
  }
  options.socket = *std::move(socket);
  options.hello.set_server_id(services_.options.server_id);
  options.hello.set_replica_id(services_.options.replica_id);
  options.hello.set_epoch(instance_.owner_epoch);
  options.hello.set_protocol_version(kProtocolVersion);
  options.hello.set_wants_metrics_batches(true);
  session_ = ShimSession::Open(executor_, services_.clock, *this, options);
}

void HostDriver::OnShimHello(const shim::v1::ShimHello& hello) {
  has_hello_ = true;
  is_takeover_due_ = false;
  upgrade_.OnHello(hello);
  facts_ = hello.facts();
  has_privileged_ = hello.capabilities().has_privileged();
}

void HostDriver::LoadAgents() {
  services_.connect_pool.Post(
      [mailbox = mailbox_, this, attempt = attempt_, &installer = services_.installer] {
        auto agents = installer.Agents();
        if (!agents.ok()) {
          telemetry::Warn("the server's agents cannot be read", {{"status", agents.status()}});
        }
        if (!agents.ok() || *agents == nullptr) return;
        mailbox->Post([this, attempt, agents = *std::move(agents)] {
          if (attempt == attempt_ && state_ == State::kReady) upgrade_.OnAgents(agents);
        });
      });
}

void HostDriver::OnComponentStatus(const shim::v1::ComponentStatus& status) {
  upgrade_.OnComponentStatus(status);
}

void HostDriver::OnUpgradeStatus(const shim::v1::UpgradeStatus& status) {
  upgrade_.OnUpgradeStatus(status);
}

void HostDriver::OnShimSessionEnded(const absl::Status& status) {
  session_.reset();
  if (state_ == State::kLeaving || state_ == State::kStopped) return;
  if (base::Reason(status) == "STALE_EPOCH") {
    OnLeaseLost();
    return;
  }
  if (state_ == State::kOpening && !has_hello_) {
    RetrySession(status);
    return;
  }
  telemetry::Info("the session with a host broke",
                  {{"instance_id", instance_.id}, {"host", instance_.hostname}, {"error", status}});
  OnBroken(status);
}

// The shim was started a moment ago: its socket appears when it is ready.
void HostDriver::RetrySession(const absl::Status& status) {
  if (services_.clock.MonotonicNow() < *shim_deadline_ && !IsRefusal(status)) {
    const std::uint64_t attempt = attempt_;
    executor_.PostAfter(session_backoff_.Next(), [this, attempt] {
      if (attempt == attempt_ && state_ == State::kOpening) OpenSession();
    });
    return;
  }
  state_ = State::kConnecting;
  is_takeover_due_ = !IsRefusal(status);
  services_.connect_pool.Post([mailbox = mailbox_,
                               this,
                               attempt = attempt_,
                               transport = transport_,
                               status,
                               &installer = services_.installer] {
    const std::string log = installer.Diagnose(*transport);
    mailbox->Post([this, attempt, status, log] {
      if (attempt != attempt_ || state_ != State::kConnecting) return;
      OnConnectionFailed(
          base::Annotate(status, "the shim does not answer{}{}", log.empty() ? "" : ": ", log),
          IsRefusal(status));
    });
  });
}

// A connection that was up has ended: the first new attempt follows at once.
void HostDriver::OnBroken(const absl::Status& status) {
  if (state_ == State::kStopped) return;
  const bool was_ready = state_ == State::kReady;
  if (!was_ready && state_ != State::kOpening && state_ != State::kConnecting) return;
  Disconnect();
  if (!was_ready) {
    OnConnectionFailed(status, /*is_hopeless=*/false);
    return;
  }
  broken_since_ = services_.clock.MonotonicNow();
  executor_.PostAfter(services_.options.unreachable_after, [this, since = *broken_since_] {
    if (broken_since_ == since) MarkUnreachable();
  });
  ScheduleConnect(milliseconds(static_cast<int>(services_.random.Uniform() * kFirstRetryMs)));
}

void HostDriver::Disconnect() {
  is_ready_ = false;
  ++attempt_;
  if (session_ != nullptr) session_->Close();
  session_.reset();
  upgrade_.OnSessionLost();
  for (const auto& [id, driver] : jobs_) driver->OnSessionLost();
  strangers_.clear();
  transport_.reset();
}

void HostDriver::OnConnectionFailed(const absl::Status& status, bool is_hopeless) {
  Disconnect();
  if (stop_.stop_requested()) return;
  // The same reason again is no news.
  const std::string message(base::Message(status));
  const bool is_news = message != last_failure_;
  last_failure_ = message;
  telemetry::Log(is_news ? telemetry::Level::kWarning : telemetry::Level::kDebug,
                 "a host cannot be reached",
                 {{"instance_id", instance_.id}, {"host", instance_.hostname}, {"error", status}});
  ScheduleConnect(connect_backoff_.Next());
  if (!WasSetUp()) {
    GiveUpIfOverdue(status, is_hopeless);
  } else {
    UpdateInstance([&message](Instance& instance) {
      return std::exchange(instance.status_message, message) != message;
    });
    const auto now = services_.clock.MonotonicNow();
    // After a start of this process nothing was up before; the first failure says enough.
    if (!broken_since_.has_value() || now - *broken_since_ >= services_.options.unreachable_after)
      MarkUnreachable();
  }
  if (state_ != State::kStopped) ReloadInstance();
}

void HostDriver::MarkUnreachable() {
  if (!broken_since_.has_value()) broken_since_ = services_.clock.MonotonicNow();
  if (state_ == State::kReady || state_ == State::kStopped || instance_.is_unreachable) return;
  UpdateInstance([](Instance& instance) { return !std::exchange(instance.is_unreachable, true); });
  const absl::Status marked = services_.jobs.SetUnreachable(epoch(), true, services_.clock.Now());
  if (!marked.ok())
    telemetry::Warn("jobs cannot be marked as unreachable",
                    {{"instance_id", instance_.id}, {"error", marked}});
  ReloadJobs();
}

// For a host that has never been set up: shows why, and ends it when it cannot work or the time is
// over.
void HostDriver::GiveUpIfOverdue(const absl::Status& status, bool is_hopeless) {
  const std::string message(base::Message(status));
  const bool is_overdue =
      has_attempted_ &&
      services_.clock.Now() >= instance_.created_at + services_.options.provisioning_timeout;
  UpdateInstance([&](Instance& instance) {
    if (IsFinal(instance.status) || instance.status == INSTANCE_STATUS_TERMINATING) return false;
    const bool is_changed = std::exchange(instance.status_message, message) != message;
    if (!is_hopeless && !is_overdue) return is_changed;
    // What was installed already is removed on the way.
    instance.status =
        state_ == State::kReady ? INSTANCE_STATUS_TERMINATING : INSTANCE_STATUS_TERMINATED;
    instance.termination_reason = is_hopeless ? INSTANCE_TERMINATION_REASON_ERROR
                                              : INSTANCE_TERMINATION_REASON_PROVISIONING_TIMEOUT;
    return true;
  });
  if (instance_.status == INSTANCE_STATUS_TERMINATING) Leave();
  if (!IsFinal(instance_.status) || state_ == State::kStopped) return;
  telemetry::Warn("a host is given up",
                  {{"instance_id", instance_.id}, {"host", instance_.hostname}, {"error", status}});
  Abandon("the host was given up: " + message);
  Finish();
}

}  // namespace dstack::server
