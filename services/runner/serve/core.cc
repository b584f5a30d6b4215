#include "services/runner/serve/core.h"

#include <chrono>
#include <utility>
#include <vector>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <google/protobuf/util/message_differencer.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/version.h"
#include "libs/failpoint/failpoint.h"
#include "libs/telemetry/log.h"
#include "services/runner/archive/install_files.h"
#include "services/runner/domain/job_machine.h"
#include "services/runner/domain/job_validate.h"

namespace dstack::runner {
namespace {

using common::v1::LogSource;

constexpr LogSource kSources[] = {common::v1::LOG_SOURCE_RUNNER, common::v1::LOG_SOURCE_JOB};
constexpr std::uint32_t kProtocolVersion = 1;
// Small enough that a status change never waits long behind logs.
constexpr std::size_t kBatchBytes = 256 * 1024;
constexpr std::size_t kMaxQueuedBytes = 1 << 20;
// Under load records travel together: a message, its acknowledgement and the wake-ups for both cost
// more than the bytes of a line.
constexpr std::chrono::milliseconds kBatchInterval{5};
constexpr std::size_t kTailBytes = 1 << 20;
constexpr char kContainerTaskDir[] = "/dstack/runner";
constexpr std::chrono::seconds kSaveAckedDelay{1};
constexpr std::int64_t kDefaultGraceSeconds = 10;

absl::Status InvalidState(std::string_view message) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "INVALID_STATE", message);
}

control::ToSupervisor StopMessage(const google::protobuf::Duration& grace) {
  control::ToSupervisor message;
  auto* out = message.mutable_stop()->mutable_grace();
  // A negative grace cannot be meant; the kindest reading is "at once".
  out->set_seconds(std::max<std::int64_t>(0, grace.seconds()));
  out->set_nanos(std::max(0, grace.nanos()));
  return message;
}

}  // namespace

ServeCore::ServeCore(EventLoop& loop,
                     const TaskDir& dir,
                     SupervisorPort& supervisor,
                     CheckoutContext checkout,
                     std::function<void()> on_end)
    : loop_(loop),
      dir_(dir),
      supervisor_(supervisor),
      checkout_(std::move(checkout)),
      on_end_(std::move(on_end)),
      files_(dir.Files()),
      usage_(loop,
             clock_,
             UsageReporter::RealSources(/*is_container=*/dir.root() == kContainerTaskDir),
             [this](v1::SessionResponse response) { return SendUsage(std::move(response)); }) {
  status_.set_state(v1::JOB_STATE_WAITING);
  status_.set_revision(1);
}

ServeCore::~ServeCore() {
  loop_.Cancel(&save_acked_);
  loop_.Cancel(&pump_);
}

absl::Status ServeCore::Load() {
  const std::string text = base::ReadFile(dir_.Epoch()).value_or("0");
  if (!absl::SimpleAtoi(text, &epoch_)) {
    return base::Internal(fmt::format("{} is damaged: {:?}", dir_.Epoch(), text));
  }
  control::AckedRecord acked;
  RETURN_IF_ERROR(LoadProto(dir_.Acked(), &acked).status());
  for (const v1::LogPosition& position : acked.positions()) {
    acked_[position.source()] = position.sequence();
  }
  ASSIGN_OR_RETURN(has_job_, LoadProto(dir_.Job(), &job_));
  return absl::OkStatus();
}

void ServeCore::OnStatus(const v1::JobStatus& status) {
  if (status.revision() < status_.revision()) return;
  status_ = status;
  // Stopped before its start: nobody needs the code any more.
  if (status_.state() == v1::JOB_STATE_FINISHED) unpacker_.request_stop();
  // The archives are unpacked and not needed again.
  if (status_.state() == v1::JOB_STATE_RUNNING) base::RemoveAll(dir_.Files()).IgnoreError();
  // An earlier process died between the mark and its message to the supervisor.
  if (status_.state() == v1::JOB_STATE_FINISHED && base::Exists(dir_.EndAcked())) TellEnd();
  if (session_ != nullptr) {
    v1::SessionResponse response;
    *response.mutable_job_status() = status_;
    Respond(std::move(response));
    PumpLogs();
  }
  usage_.OnStatus(status_);
}

void ServeCore::OnRequest(const std::shared_ptr<Session>& session,
                          const v1::SessionRequest& request) {
  if (request.has_hello() && session != session_) {
    OnHello(session, request.hello());
  } else if (session != session_) {
    session->Finish(base::InvalidField("hello", "must be the first message of a session"));
    return;
  } else {
    OnCommand(request);
  }
  session->ReadNext();
}

void ServeCore::OnHello(const std::shared_ptr<Session>& session,
                        const v1::RunnerServerHello& hello) {
  if (hello.protocol_version() < kProtocolVersion) {
    session->Finish(base::Error(
        absl::StatusCode::kFailedPrecondition,
        "VERSION_MISMATCH",
        fmt::format(
            "protocol_version {} is below {}", hello.protocol_version(), kProtocolVersion)));
    return;
  }
  if (const absl::Status adopted = AdoptEpoch(hello.epoch()); !adopted.ok()) {
    session->Finish(adopted);
    return;
  }
  DropSession(base::Error(
      absl::StatusCode::kAborted, "LEASE_LOST", "another session of the server took over"));
  if (const absl::Status opened = OpenStreams(hello); !opened.ok()) {
    session->Finish(opened);
    return;
  }
  session_ = session;
  next_response_ = 1;
  is_end_sent_ = false;
  v1::SessionResponse response;
  response.mutable_hello()->set_protocol_version(kProtocolVersion);
  response.mutable_hello()->set_runner_version(std::string(base::Version()));
  *response.mutable_hello()->mutable_job_status() = status_;
  Respond(std::move(response));
  control::ToSupervisor changed;
  changed.mutable_session_changed()->set_is_connected(true);
  supervisor_.Tell(changed);
  usage_.OnSession();
  PumpLogs();
}

// Kept on disk: a replica that lost the host must be refused by the next process too.
absl::Status ServeCore::AdoptEpoch(std::uint64_t epoch) {
  if (epoch < epoch_) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "STALE_EPOCH",
                       fmt::format("epoch {} is below {}", epoch, epoch_));
  }
  if (epoch == epoch_) return absl::OkStatus();
  RETURN_IF_ERROR(base::WriteFileAtomic(dir_.Epoch(), std::to_string(epoch), 0600));
  epoch_ = epoch;
  return absl::OkStatus();
}

absl::Status ServeCore::OpenStreams(const v1::RunnerServerHello& hello) {
  std::map<LogSource, std::uint64_t> positions;
  for (const v1::LogPosition& position : hello.log_positions()) {
    positions[position.source()] = position.sequence();
    NoteAcked(position);
  }
  streams_.clear();
  for (const LogSource source : kSources) {
    std::string note;
    ASSIGN_OR_RETURN(LogStream stream,
                     LogStream::Open(source, dir_.Spool(source), positions[source], &note));
    if (!note.empty()) telemetry::Error("log records are gone", {{"detail", note}});
    streams_.emplace(source, std::move(stream));
  }
  return absl::OkStatus();
}

void ServeCore::OnCommand(const v1::SessionRequest& request) {
  switch (request.message_case()) {
    case v1::SessionRequest::kSubmitJob:
      return OnSubmit(request.submit_job().job());
    case v1::SessionRequest::kFileChunk:
      return OnChunk(request.file_chunk());
    case v1::SessionRequest::kStartJob:
      return OnStart();
    case v1::SessionRequest::kStopJob:
      return supervisor_.Tell(StopMessage(request.stop_job().grace()));
    case v1::SessionRequest::kAckLogs:
      return OnAckLogs(request.ack_logs().position());
    case v1::SessionRequest::kAckEnd:
      return OnAckEnd();
    case v1::SessionRequest::kHello:           // a second one in the same session
    case v1::SessionRequest::MESSAGE_NOT_SET:  // a command of a newer server
      return;
  }
}

bool ServeCore::IsStarted() const {
  return status_.state() != v1::JOB_STATE_WAITING && status_.state() != v1::JOB_STATE_PREPARING;
}

void ServeCore::OnSubmit(const v1::JobSpec& job) {
  if (const absl::Status accepted = AcceptJob(job); !accepted.ok()) return Refuse(accepted);
  SendFilesNeeded();
}

absl::Status ServeCore::AcceptJob(const v1::JobSpec& job) {
  if (has_job_) {
    if (google::protobuf::util::MessageDifferencer::Equals(job_, job)) return absl::OkStatus();
    return InvalidState(fmt::format("this runner has job {} with another content already",
                                    job_.identity().job_id()));
  }
  if (status_.state() == v1::JOB_STATE_FINISHED) {
    return InvalidState(fmt::format("this runner takes no more jobs: {}", status_.message()));
  }
  RETURN_IF_ERROR(ValidateJob(job));
  RETURN_IF_ERROR(SaveProto(dir_.Job(), job));
  FAILPOINT("runner.after_job_saved");
  job_ = job;
  has_job_ = true;
  control::ToSupervisor message;
  message.mutable_submitted();
  supervisor_.Tell(message);
  return absl::OkStatus();
}

void ServeCore::OnChunk(const v1::FileChunk& chunk) {
  const absl::Status added =
      has_job_ ? files_.Add(job_, chunk) : InvalidState("a file came before the job");
  if (!added.ok()) return Refuse(added);
  if (chunk.is_last()) SendFilesNeeded();
}

void ServeCore::OnStart() {
  if (!has_job_) return Refuse(InvalidState("there is no job to start"));
  if (is_starting_ || IsStarted()) return;
  if (const auto missing = files_.Missing(job_); !missing.empty()) {
    return Refuse(InvalidState(fmt::format("archive {} has not arrived", missing.front())));
  }
  is_starting_ = true;
  // On a thread of its own: the session stays alive while a large archive is unpacked. It is joined
  // by the next assignment or the destructor.
  unpacker_ = std::jthread([this, job = job_](const std::stop_token& stop) {
    const auto progress = [this](const std::string& line) {
      loop_.Post([this, line] { TellLine(line); });
    };
    absl::Status status = InstallRepo(job, dir_, checkout_, progress, stop);
    if (status.ok()) status = InstallFiles(job, dir_, checkout_.initial_dir, progress);
    loop_.Post([this, status = std::move(status)] { OnUnpacked(status); });
  });
}

void ServeCore::TellLine(const std::string& line) {
  control::ToSupervisor message;
  message.mutable_line()->set_text(line);
  supervisor_.Tell(message);
}

void ServeCore::OnUnpacked(const absl::Status& status) {
  control::ToSupervisor message;
  // A process that died between job.pb and its message to the supervisor left this to us.
  message.mutable_submitted();
  supervisor_.Tell(message);
  if (status.ok()) {
    message.mutable_start();
  } else {
    message.mutable_fail()->set_message(std::string(base::Message(status)));
  }
  FAILPOINT("runner.before_start_command");
  supervisor_.Tell(message);
}

void ServeCore::OnAckLogs(const v1::LogPosition& position) {
  const auto stream = streams_.find(position.source());
  if (stream == streams_.end() || position.sequence() > stream->second.last_sent()) return;
  stream->second.Ack(position.sequence());
  NoteAcked(position);
  PumpWhatWaits();
}

void ServeCore::NoteAcked(const v1::LogPosition& position) {
  std::uint64_t& acked = acked_[position.source()];
  if (position.sequence() <= acked) return;
  acked = position.sequence();
  control::ToSupervisor message;
  *message.mutable_acked() = position;
  supervisor_.Tell(message);
  if (save_acked_ == EventLoop::kNoTimer) {
    save_acked_ = loop_.After(kSaveAckedDelay, [this] {
      save_acked_ = EventLoop::kNoTimer;
      SaveAcked();
    });
  }
}

void ServeCore::SaveAcked() {
  if (acked_.empty()) return;
  control::AckedRecord record;
  for (const auto& [source, sequence] : acked_) {
    v1::LogPosition* position = record.add_positions();
    position->set_source(source);
    position->set_sequence(sequence);
  }
  const absl::Status saved = SaveFast(dir_.Acked(), record.SerializeAsString());
  if (!saved.ok()) telemetry::Error("acknowledgements not written", {{"error", saved}});
}

void ServeCore::OnAckEnd() {
  if (!is_end_sent_) return Refuse(InvalidState("the end of the logs was not sent yet"));
  const absl::Status marked = base::WriteFileAtomic(dir_.EndAcked(), "", 0600);
  if (!marked.ok()) telemetry::Error("end not marked", {{"error", marked}});
  SaveAcked();
  FAILPOINT("runner.after_end_acked");
  DropSession(absl::OkStatus());
  TellEnd();
}

void ServeCore::TellEnd() {
  control::ToSupervisor message;
  message.mutable_end_acked();
  supervisor_.Tell(message);
  on_end_();
}

void ServeCore::Respond(v1::SessionResponse response) {
  if (session_ == nullptr) return;
  response.set_sequence(next_response_++);
  session_->Send(std::move(response));
}

void ServeCore::Refuse(const absl::Status& why) {
  v1::SessionResponse response;
  const std::string reason = base::Reason(why);
  response.mutable_job_refused()->set_reason(reason.empty() ? "INTERNAL" : reason);
  response.mutable_job_refused()->set_message(std::string(base::Message(why)));
  Respond(std::move(response));
}

void ServeCore::SendFilesNeeded() {
  v1::SessionResponse response;
  auto* needed = response.mutable_files_needed();
  if (!IsStarted()) {
    for (std::string& digest : files_.Missing(job_)) needed->add_digests(std::move(digest));
  }
  Respond(std::move(response));
}

// The first record after a pause goes at once.
void ServeCore::OnAppended() {
  if (pump_ != EventLoop::kNoTimer) return;
  const auto wait = last_batch_ + kBatchInterval - std::chrono::steady_clock::now();
  if (wait <= std::chrono::nanoseconds(0)) return PumpLogs();
  pump_ = loop_.After(wait, [this] { PumpLogs(); });
}

// There is room again. A pump that left nothing behind has nothing to do with that.
void ServeCore::PumpWhatWaits() {
  if (!is_drained_) PumpLogs();
}

void ServeCore::PumpLogs() {
  loop_.Cancel(&pump_);
  if (session_ == nullptr || is_end_sent_) return;
  // Read before the spools: records that were written before the end was told are all there.
  const bool is_finished = status_.state() == v1::JOB_STATE_FINISHED;
  is_drained_ = true;
  for (auto& [source, stream] : streams_) {
    const absl::StatusOr<bool> pumped = PumpStream(stream);
    if (!pumped.ok()) return DropSession(base::Annotate(pumped.status(), "reading the log spool"));
    is_drained_ = is_drained_ && *pumped;
  }
  if (is_finished && is_drained_) SendEndOfLogs();
}

// True when everything that the spool holds was sent.
absl::StatusOr<bool> ServeCore::PumpStream(LogStream& stream) {
  while (session_->queued_bytes() < kMaxQueuedBytes) {
    ASSIGN_OR_RETURN(auto batch, stream.Next(kBatchBytes));
    if (!batch.has_value()) return stream.is_drained();
    v1::SessionResponse response;
    *response.mutable_log_batch() = *std::move(batch);
    Respond(std::move(response));
    last_batch_ = std::chrono::steady_clock::now();
  }
  return false;
}

void ServeCore::SendEndOfLogs() {
  v1::SessionResponse response;
  for (const auto& [source, stream] : streams_) {
    v1::LogPosition* last = response.mutable_end_of_logs()->add_last();
    last->set_source(source);
    last->set_sequence(stream.last_sent());
  }
  is_end_sent_ = true;
  Respond(std::move(response));
}

// Logs and states go first: a sample that has to wait is dropped, the next one is as good.
bool ServeCore::SendUsage(v1::SessionResponse response) {
  if (session_ == nullptr || session_->queued_bytes() > 0) return false;
  Respond(std::move(response));
  return true;
}

void ServeCore::OnWritable(const std::shared_ptr<Session>& session) {
  if (session == session_) PumpWhatWaits();
}

void ServeCore::OnClosed(const std::shared_ptr<Session>& session) {
  if (session != session_) return;
  session_.reset();
  // Open readers would keep the space of segments that are deleted.
  streams_.clear();
  control::ToSupervisor message;
  message.mutable_session_changed()->set_is_connected(false);
  supervisor_.Tell(message);
}

void ServeCore::DropSession(const absl::Status& status) {
  if (session_ == nullptr) return;
  const std::shared_ptr<Session> session = std::move(session_);
  OnClosed(nullptr);
  session->Finish(status);
}

void ServeCore::Shutdown() {
  SaveAcked();
  DropSession(
      base::Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the runner is stopping"));
}

v1::GetJobResponse ServeCore::GetJob() const {
  v1::GetJobResponse response;
  *response.mutable_job_status() = status_;
  for (const LogSource source : kSources) {
    v1::LogPosition* written = response.add_written();
    written->set_source(source);
    written->set_sequence(spool::LastSequence(dir_.Spool(source)).value_or(0));
    v1::LogPosition* acknowledged = response.add_acknowledged();
    acknowledged->set_source(source);
    const auto acked = acked_.find(source);
    acknowledged->set_sequence(acked == acked_.end() ? 0 : acked->second);
  }
  return response;
}

absl::StatusOr<v1::TailLogsResponse> ServeCore::TailLogs(LogSource source) const {
  if (source == common::v1::LOG_SOURCE_UNSPECIFIED) source = common::v1::LOG_SOURCE_JOB;
  if (source != common::v1::LOG_SOURCE_JOB && source != common::v1::LOG_SOURCE_RUNNER) {
    return base::InvalidField("source", fmt::format("{} is unknown", static_cast<int>(source)));
  }
  ASSIGN_OR_RETURN(auto records, spool::ReadNewest(dir_.Spool(source), kTailBytes));
  v1::TailLogsResponse response;
  *response.mutable_batch() = ToBatch(source, std::move(records));
  return response;
}

v1::StopJobResponse ServeCore::StopJob(const v1::StopJobRequest& request) {
  google::protobuf::Duration grace = request.grace();
  if (!request.has_grace()) grace.set_seconds(kDefaultGraceSeconds);
  supervisor_.Tell(StopMessage(grace));
  v1::StopJobResponse response;
  *response.mutable_job_status() = status_;
  return response;
}

}  // namespace dstack::runner
