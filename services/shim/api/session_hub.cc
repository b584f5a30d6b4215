#include "services/shim/api/session_hub.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>
#include <google/protobuf/util/time_util.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::uint32_t kProtocolVersion = 1;
constexpr std::chrono::seconds kHeartbeatInterval{5};
constexpr std::chrono::seconds kBeatCheck{1};
constexpr std::chrono::seconds kSampleInterval{1};
// One message for so many samples, also of the newest one alone.
constexpr int kSamplesPerMessage = 5;
// What is kept while no server is there, and the most that goes into one message.
constexpr std::size_t kMaxSamples = 600;
constexpr std::size_t kMaxBatch = 60;
constexpr std::chrono::seconds kFactsInterval{30};
// For a replaced session's last message to leave.
constexpr std::chrono::seconds kEndPatience{5};
constexpr std::chrono::hours kMaxGrace{24};

absl::Status LeaseLost() {
  return base::Error(
      absl::StatusCode::kAborted, "LEASE_LOST", "another session drives this host now");
}

}  // namespace

absl::StatusOr<StopRequest> ToStopRequest(const v1::StopPolicy& policy,
                                          const std::string& message) {
  const std::int64_t seconds = policy.grace().seconds();
  const std::int32_t nanos = policy.grace().nanos();
  const bool is_good = seconds >= 0 && nanos >= 0 && nanos < 1'000'000'000 &&
                       seconds <= std::chrono::seconds(kMaxGrace).count();
  if (!is_good) {
    return base::InvalidField(
        "stop_policy.grace",
        fmt::format("{} s and {} ns must be between zero and one day", seconds, nanos));
  }
  return StopRequest{
      .grace = std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(policy.grace())),
      .message = message};
}

SessionHub::SessionHub(IdentityStore& identity,
                       TaskTable& table,
                       StatusBoard& board,
                       DrainStore& drain,
                       Upgrader& upgrader,
                       HostSource host,
                       exec::TimedExecutor& executor)
    : identity_(identity),
      table_(table),
      board_(board),
      drain_(drain),
      upgrader_(upgrader),
      host_(std::move(host)),
      executor_(executor),
      shim_id_(identity.shim_id()),
      samples_(kMaxSamples),
      epoch_(identity.epoch()) {}

void SessionHub::Start() {
  executor_.Post([this] {
    facts_ = host_.facts();
    Beat();
    Measure();
    executor_.PostAfter(kFactsInterval, [this] { CheckFacts(); });
  });
}

void SessionHub::Stop() {
  executor_.Post([this] {
    is_stopped_ = true;
    if (!current_) return;
    board_.Detach(current_.get());
    // The server's shutdown cancels what does not end in time.
    current_->End(
        base::Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the shim is stopping"));
    current_.reset();
    has_session_ = false;
  });
}

void SessionHub::OnRequest(const std::shared_ptr<Session>& session, v1::SessionRequest request) {
  executor_.Post([this, session, request = std::move(request)] { Handle(session, request); });
}

void SessionHub::OnEnded(const std::shared_ptr<Session>& session) {
  executor_.Post([this, session] { Drop(session); });
}

void SessionHub::Drop(const std::shared_ptr<Session>& session) {
  // Also one that never said hello.
  board_.Detach(session.get());
  if (current_ != session) return;
  current_.reset();
  has_session_ = false;
  telemetry::Info("session ended");
}

void SessionHub::Handle(const std::shared_ptr<Session>& session,
                        const v1::SessionRequest& request) {
  if (is_stopped_) {
    return session->End(
        base::Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the shim is stopping"));
  }
  if (request.has_hello() && current_ != session) return Greet(session, request.hello());
  // The first message must be hello; a session that was replaced has no say any more.
  if (current_ != session) {
    return session->End(base::InvalidField("hello", "must be the first message of a session"));
  }
  switch (request.message_case()) {
    case v1::SessionRequest::kSubmitTask:
      Submit(session, request.submit_task());
      break;
    case v1::SessionRequest::kTerminateTask:
      Terminate(session, request.terminate_task());
      break;
    case v1::SessionRequest::kRemoveTask:
      Remove(session, request.remove_task());
      break;
    case v1::SessionRequest::kAckTask:
      break;  // informative; the status of a task stays until its removal
    case v1::SessionRequest::kDrain:
      Drain(session, request.drain());
      break;
    case v1::SessionRequest::kComponentChunk:
      // Reads on when the chunk is on the disk: a fast server waits for a slow one.
      return Receive(session, request.component_chunk());
    case v1::SessionRequest::kActivate:
      Activate(session, request.activate());
      break;
    default:
      session->SendFailure("", base::InvalidField("message", "is not known to this version"));
  }
  session->ReadNext();
}

void SessionHub::Greet(const std::shared_ptr<Session>& session, const v1::ServerHello& hello) {
  if (hello.protocol_version() < 1) {
    return session->End(base::Error(
        absl::StatusCode::kFailedPrecondition,
        "VERSION_MISMATCH",
        fmt::format("protocol version {} is not spoken here", hello.protocol_version())));
  }
  if (const absl::Status accepted = identity_.Accept(hello.server_id(), hello.epoch());
      !accepted.ok()) {
    telemetry::Warn("session refused",
                    {{"replica_id", hello.replica_id().substr(0, 64)}, {"status", accepted}});
    return session->End(accepted);
  }
  epoch_ = hello.epoch();
  telemetry::Info("session opened",
                  {{"replica_id", hello.replica_id().substr(0, 64)}, {"epoch", hello.epoch()}});
  Replace(session);
  wants_batches_ = hello.wants_metrics_batches();
  v1::SessionResponse message;
  auto* answer = message.mutable_hello();
  answer->set_protocol_version(std::min(hello.protocol_version(), kProtocolVersion));
  answer->set_shim_id(shim_id_);
  *answer->mutable_facts() = facts_;
  *answer->mutable_capabilities() = host_.runtime;
  answer->mutable_capabilities()->set_has_upgrade(upgrader_.is_supervised());
  for (v1::ComponentDigest& digest : ToProto(upgrader_.running())) {
    *answer->add_components() = std::move(digest);
  }
  *answer->mutable_heartbeat_interval() = TimeUtil::SecondsToDuration(kHeartbeatInterval.count());
  session->Send(std::move(message));
  board_.Attach(session.get());
  TellUpgrade(session);
  told_drain_.Clear();
  TellDrain();
  session->ReadNext();
}

void SessionHub::Replace(const std::shared_ptr<Session>& session) {
  if (current_) {
    board_.Detach(current_.get());
    current_->End(LeaseLost());
    // A peer that does not read would keep it for ever.
    executor_.PostAfter(kEndPatience, [replaced = current_] { replaced->Cancel(); });
  }
  current_ = session;
  has_session_ = true;
}

void SessionHub::Submit(const std::shared_ptr<Session>& session,
                        const v1::SubmitTaskCommand& command) {
  const std::string task_id = command.spec().task_id();
  // A task that is here already is no new one.
  const absl::Status taken = table_.Contains(task_id) ? absl::OkStatus() : drain_.CheckTakesTasks();
  if (!taken.ok()) return session->SendFailure(task_id.substr(0, 64), taken);
  table_.Submit(command.spec(), [this, session, task_id](const absl::Status& status) {
    if (!status.ok()) return session->SendFailure(task_id.substr(0, 64), status);
    // For a task that was there before: the answer of a repeated command.
    if (const auto known = board_.Get(task_id)) session->OnStatus(*known);
  });
}

void SessionHub::Terminate(const std::shared_ptr<Session>& session,
                           const v1::TerminateTaskCommand& command) {
  const std::string& task_id = command.task_id();
  auto request = ToStopRequest(command.stop_policy(), command.message());
  if (!request.ok()) return session->SendFailure(task_id, request.status());
  table_.Terminate(task_id,
                   *std::move(request),
                   [session, task_id](const absl::StatusOr<v1::TaskStatus>& status) {
                     if (!status.ok()) return session->SendFailure(task_id, status.status());
                     session->OnStatus(*status);
                   });
}

void SessionHub::Remove(const std::shared_ptr<Session>& session,
                        const v1::RemoveTaskCommand& command) {
  const std::string& task_id = command.task_id();
  // Not by the board, which learns of a submit only when it is recorded.
  if (!table_.Contains(task_id)) return session->OnRemoved(task_id);
  table_.Remove(task_id, [session, task_id](const absl::Status& status) {
    // Success is told by the board.
    if (!status.ok()) session->SendFailure(task_id, status);
  });
}

void SessionHub::Beat() {
  if (is_stopped_) return;
  // The check rounds up, so that the silence stays below the announced interval.
  if (current_) current_->BeatIfSilent(kHeartbeatInterval - kBeatCheck);
  executor_.PostAfter(kBeatCheck, [this] { Beat(); });
}

void SessionHub::Measure() {
  if (is_stopped_) return;
  // Taken also without a session: the processor's share is measured since the last sample.
  samples_.Add(host_.metrics());
  ++samples_taken_;
  if (current_) SendMetrics();
  executor_.PostAfter(kSampleInterval, [this] { Measure(); });
}

void SessionHub::SendMetrics() {
  // A backlog goes out as fast as the server takes it.
  const bool is_due = samples_taken_ % kSamplesPerMessage == 0 || samples_.size() > kMaxBatch;
  if (!is_due || !current_->HasRoom()) return;
  v1::SessionResponse message;
  if (wants_batches_) {
    *message.mutable_host_metrics_batch() = samples_.Take(kMaxBatch);
  } else {
    *message.mutable_host_metrics() = samples_.newest();
  }
  current_->Send(std::move(message));
}

void SessionHub::CheckFacts() {
  if (is_stopped_) return;
  CompareFacts();
  executor_.PostAfter(kFactsInterval, [this] { CheckFacts(); });
}

void SessionHub::RefreshFacts() {
  executor_.Post([this] {
    if (!is_stopped_) CompareFacts();
  });
}

void SessionHub::CompareFacts() {
  v1::HostFacts facts = host_.facts();
  if (!google::protobuf::util::MessageDifferencer::Equals(facts, facts_)) {
    facts_ = facts;
    v1::SessionResponse message;
    *message.mutable_host_facts() = std::move(facts);
    if (current_) current_->Send(std::move(message));
  }
}

void SessionHub::Announce(v1::SessionResponse message) {
  executor_.Post([this, message = std::move(message)]() mutable {
    if (current_) current_->Send(std::move(message));
  });
}

void SessionHub::OnTasksChanged() {
  if (!drain_.is_draining() || is_drain_check_posted_.exchange(true)) return;
  OnDrainChanged();
}

void SessionHub::OnDrainChanged() {
  executor_.Post([this] {
    is_drain_check_posted_ = false;
    TellDrain();
  });
}

void SessionHub::TellDrain() {
  v1::DrainStatus drain = drain_.status();
  // Without a drain the number of tasks is no news.
  if (!drain.is_draining()) drain.clear_live_tasks();
  if (google::protobuf::util::MessageDifferencer::Equals(drain, told_drain_)) return;
  told_drain_ = drain;
  v1::SessionResponse message;
  *message.mutable_drain_status() = std::move(drain);
  if (current_) current_->Send(std::move(message));
}

void SessionHub::Drain(const std::shared_ptr<Session>& session, const v1::DrainCommand& command) {
  const absl::Status set = drain_.Set(command.is_draining(), command.reason());
  if (!set.ok()) return session->SendFailure("", set);
  // Also when it is no news: the answer.
  v1::SessionResponse message;
  *message.mutable_drain_status() = drain_.status();
  told_drain_ = message.drain_status();
  session->Send(std::move(message));
}

void SessionHub::Receive(const std::shared_ptr<Session>& session, const v1::ComponentChunk& chunk) {
  upgrader_.Receive(chunk, [session](v1::ComponentStatus status) {
    v1::SessionResponse message;
    *message.mutable_component_status() = std::move(status);
    session->Send(std::move(message));
    session->ReadNext();
  });
}

void SessionHub::Activate(const std::shared_ptr<Session>& session,
                          const v1::ActivateCommand& command) {
  upgrader_.Activate(command, [session](v1::UpgradeStatus status) {
    v1::SessionResponse message;
    *message.mutable_upgrade_status() = std::move(status);
    session->Send(std::move(message));
  });
}

void SessionHub::TellUpgrade(const std::shared_ptr<Session>& session) {
  auto last = upgrader_.last();
  if (!last) return;
  v1::SessionResponse message;
  *message.mutable_upgrade_status() = *std::move(last);
  session->Send(std::move(message));
}

}  // namespace dstack::shim
