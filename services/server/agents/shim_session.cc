#include "services/server/agents/shim_session.h"

#include <utility>

#include "libs/base/status.h"
#include "services/server/agents/agent_channel.h"

namespace dstack::server {
namespace {

using std::chrono::seconds;

constexpr int kMissedHeartbeats = 3;
constexpr seconds kDefaultHeartbeat{5};
constexpr seconds kShortestHeartbeat{1};

}  // namespace

ShimSession::ShimSession(exec::TimedExecutor& executor, const base::Clock& clock, Events& events)
    : executor_(executor), clock_(clock), events_(&events) {}

std::shared_ptr<ShimSession> ShimSession::Open(exec::TimedExecutor& executor,
                                               const base::Clock& clock,
                                               Events& events,
                                               const Options& options) {
  std::shared_ptr<ShimSession> session(new ShimSession(executor, clock, events));
  session->Begin(options);
  return session;
}

void ShimSession::Begin(const Options& options) {
  const auto channel = MakeAgentChannel(options.socket);
  Stream::Handlers handlers;
  handlers.on_message = [weak = weak_from_this()](const shim::v1::SessionResponse& response) {
    if (const auto self = weak.lock()) self->OnMessage(response);
  };
  handlers.on_done = [weak = weak_from_this()](const absl::Status& status) {
    if (const auto self = weak.lock()) self->OnDone(status);
  };
  // The channel lives as long as the call.
  auto stub = std::make_shared<shim::v1::ShimService::Stub>(channel);
  stream_ = Stream::Start(executor_,
                          std::move(handlers),
                          nullptr,
                          [stub](grpc::ClientContext* context, Stream::Reactor* reactor) {
                            stub->async()->Session(context, reactor);
                          });
  shim::v1::SessionRequest request;
  *request.mutable_hello() = options.hello;
  stream_->Send(std::move(request));
  silence_limit_ = options.hello_timeout;
  last_message_at_ = clock_.MonotonicNow();
  WatchSilence();
}

void ShimSession::WatchSilence() {
  const base::MonotonicTime limit = last_message_at_ + silence_limit_;
  const base::MonotonicTime now = clock_.MonotonicNow();
  if (now >= limit) {
    was_silent_ = true;
    stream_->Cancel();
    return;
  }
  silence_timer_ = executor_.PostAfter(limit - now, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self != nullptr && self->events_ != nullptr) self->WatchSilence();
  });
}

void ShimSession::OnMessage(const shim::v1::SessionResponse& response) {
  if (events_ == nullptr) return;
  last_message_at_ = clock_.MonotonicNow();
  if (response.has_hello()) {
    seconds heartbeat(response.hello().heartbeat_interval().seconds());
    if (heartbeat < kShortestHeartbeat) heartbeat = kDefaultHeartbeat;
    silence_limit_ = heartbeat * kMissedHeartbeats;
  }
  Dispatch(response);
  if (events_ != nullptr) stream_->ReadNext();
}

void ShimSession::Dispatch(const shim::v1::SessionResponse& response) {
  using Case = shim::v1::SessionResponse::MessageCase;
  switch (response.message_case()) {
    case Case::kHello:
      return events_->OnShimHello(response.hello());
    case Case::kTaskStatus:
      return events_->OnTaskStatus(response.task_status());
    case Case::kTaskRemoved:
      return events_->OnTaskRemoved(response.task_removed().task_id());
    case Case::kSyncDone:
      return events_->OnSyncDone();
    case Case::kHostFacts:
      return events_->OnHostFacts(response.host_facts());
    case Case::kHostMetricsBatch:
      return events_->OnHostMetrics(response.host_metrics_batch());
    case Case::kCommandFailed:
      return events_->OnCommandFailed(response.command_failed());
    case Case::kDrainStatus:
      return events_->OnDrainStatus(response.drain_status());
    case Case::kComponentStatus:
      return events_->OnComponentStatus(response.component_status());
    case Case::kUpgradeStatus:
      return events_->OnUpgradeStatus(response.upgrade_status());
    default:
      return;  // a heartbeat, a single sample, or newer than this version
  }
}

void ShimSession::OnDone(const absl::Status& status) {
  Events* events = std::exchange(events_, nullptr);
  silence_timer_.Cancel();
  if (events == nullptr) return;
  if (was_silent_) {
    events->OnShimSessionEnded(absl::DeadlineExceededError("the shim does not answer any more"));
  } else {
    events->OnShimSessionEnded(status.ok() ? base::Unavailable("the shim ended the session")
                                           : status);
  }
}

void ShimSession::Send(shim::v1::SessionRequest request) {
  if (events_ != nullptr) stream_->Send(std::move(request));
}

void ShimSession::Close() {
  events_ = nullptr;
  silence_timer_.Cancel();
  stream_->Detach();
}

}  // namespace dstack::server
