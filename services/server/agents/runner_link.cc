#include "services/server/agents/runner_link.h"

#include <array>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "services/server/agents/agent_channel.h"

namespace dstack::server {
namespace {

using common::v1::LogSource;

constexpr std::uint32_t kProtocolVersion = 1;
constexpr std::size_t kChunkBytes = 1 << 20;
// Records of one job on their way to the database.
constexpr std::size_t kMostInFlight = 4 << 20;
constexpr std::array kSources = {common::v1::LOG_SOURCE_JOB, common::v1::LOG_SOURCE_RUNNER};

std::size_t BytesOf(const common::v1::LogBatch& batch) {
  std::size_t bytes = 0;
  for (const common::v1::LogRecord& record : batch.records()) bytes += record.data().size();
  return bytes;
}

}  // namespace

RunnerLink::RunnerLink(std::shared_ptr<Mailbox> mailbox,
                       LogIngest& ingest,
                       Events& events,
                       Options options)
    : mailbox_(std::move(mailbox)),
      ingest_(ingest),
      events_(&events),
      options_(std::move(options)) {
  for (const LogPosition& position : options_.positions)
    stored_[position.source] = position.sequence;
}

std::shared_ptr<RunnerLink> RunnerLink::Open(std::shared_ptr<Mailbox> mailbox,
                                             LogIngest& ingest,
                                             Events& events,
                                             Options options) {
  std::shared_ptr<RunnerLink> link(
      new RunnerLink(std::move(mailbox), ingest, events, std::move(options)));
  link->Begin();
  return link;
}

void RunnerLink::Begin() {
  Stream::Handlers handlers;
  handlers.on_message = [weak = weak_from_this()](const runner::v1::SessionResponse& response) {
    if (const auto self = weak.lock()) self->OnMessage(response);
  };
  handlers.on_done = [weak = weak_from_this()](const absl::Status& status) {
    if (const auto self = weak.lock()) self->OnDone(status);
  };
  auto stub = std::make_shared<runner::v1::RunnerService::Stub>(MakeAgentChannel(options_.socket));
  stream_ = Stream::Start(
      *mailbox_,
      std::move(handlers),
      [this](grpc::ClientContext& context) { rpc::SetToken(context, options_.token); },
      [stub](grpc::ClientContext* context, Stream::Reactor* reactor) {
        stub->async()->Session(context, reactor);
      });
  runner::v1::SessionRequest request;
  runner::v1::RunnerServerHello* hello = request.mutable_hello();
  hello->set_epoch(options_.epoch);
  hello->set_protocol_version(kProtocolVersion);
  for (const LogPosition& position : options_.positions) {
    runner::v1::LogPosition* added = hello->add_log_positions();
    added->set_source(position.source);
    added->set_sequence(position.sequence);
  }
  stream_->Send(std::move(request));
}

void RunnerLink::OnMessage(const runner::v1::SessionResponse& response) {
  if (events_ == nullptr) return;
  wants_read_ = true;
  Dispatch(response);
  ReadOnIfRoom();
}

void RunnerLink::Dispatch(const runner::v1::SessionResponse& response) {
  using Case = runner::v1::SessionResponse::MessageCase;
  switch (response.message_case()) {
    case Case::kHello:
      return OnHello(response.hello());
    case Case::kJobStatus:
      return events_->OnRunnerStatus(response.job_status());
    case Case::kLogBatch:
      return Store({options_.job_id, response.log_batch(), /*is_end=*/false},
                   BytesOf(response.log_batch()));
    case Case::kEndOfLogs:
      return OnEndOfLogs(response.end_of_logs());
    case Case::kFilesNeeded:
      return SendFiles(response.files_needed());
    case Case::kMetrics:
      return events_->OnJobMetrics(response.metrics());
    case Case::kSshActivity:
      return events_->OnSshActivity(response.ssh_activity());
    case Case::kJobRefused:
      return events_->OnJobRefused(response.job_refused().message());
    default:
      return;  // newer than this version
  }
}

void RunnerLink::OnHello(const runner::v1::RunnerHello& hello) {
  is_up_ = true;
  events_->OnRunnerStatus(hello.job_status());
}

void RunnerLink::OfferJob(const runner::v1::JobSpec& job) {
  if (is_offered_) return;
  is_offered_ = true;
  needs_files_ = job.files_size() > 0 || !job.repo().git().diff_digest().empty() ||
                 !job.repo().archive_digest().empty();
  runner::v1::SessionRequest submit;
  *submit.mutable_submit_job()->mutable_job() = job;
  stream_->Send(std::move(submit));
  if (!needs_files_) StartJob();
}

void RunnerLink::StartJob() {
  runner::v1::SessionRequest start;
  start.mutable_start_job();
  stream_->Send(std::move(start));
}

void RunnerLink::SendFiles(const runner::v1::FilesNeeded& needed) {
  // Without archives the job was started when it was offered.
  if (!std::exchange(needs_files_, false)) return;
  for (const std::string& digest : needed.digests()) {
    if (!SendArchive(digest)) return;
  }
  StartJob();
}

bool RunnerLink::SendArchive(const std::string& digest) {
  auto content = events_->LoadArchive(digest);
  if (!content.ok()) {
    if (base::IsTransient(content.status())) {
      Fail(content.status());
    } else {
      events_->OnJobRefused(
          fmt::format("file archive {}: {}", digest, base::Message(content.status())));
    }
    return false;
  }
  std::size_t offset = 0;
  do {
    runner::v1::SessionRequest request;
    runner::v1::FileChunk* chunk = request.mutable_file_chunk();
    chunk->set_digest(digest);
    chunk->set_offset(offset);
    chunk->set_data(content->substr(offset, kChunkBytes));
    offset += chunk->data().size();
    chunk->set_is_last(offset == content->size());
    stream_->Send(std::move(request));
  } while (offset < content->size());
  return true;
}

void RunnerLink::Store(LogStore::Append append, std::size_t bytes) {
  bytes_in_flight_ += bytes;
  ++batches_in_flight_;
  const LogSource source = append.batch.source();
  const bool is_end = append.is_end;
  ingest_.Append(std::move(append),
                 [mailbox = mailbox_, weak = weak_from_this(), source, bytes, is_end](
                     const absl::StatusOr<std::uint64_t>& sequence) {
                   mailbox->Post([weak, source, bytes, is_end, sequence] {
                     if (const auto self = weak.lock())
                       self->OnStored(source, bytes, is_end, sequence);
                   });
                 });
}

void RunnerLink::OnStored(LogSource source,
                          std::size_t bytes,
                          bool is_end,
                          const absl::StatusOr<std::uint64_t>& sequence) {
  bytes_in_flight_ -= bytes;
  --batches_in_flight_;
  if (events_ == nullptr) return;
  if (!sequence.ok()) {
    Fail(base::Annotate(sequence.status(), "storing logs"));
    return;
  }
  stored_[source] = *sequence;
  // More is on the way: its answer acknowledges this one too.
  if (!is_end && (batches_in_flight_ == 0 || stream_->queued() == 0)) {
    runner::v1::SessionRequest request;
    runner::v1::LogPosition* position = request.mutable_ack_logs()->mutable_position();
    position->set_source(source);
    position->set_sequence(*sequence);
    stream_->Send(std::move(request));
  }
  CheckEnd();
  ReadOnIfRoom();
}

void RunnerLink::OnEndOfLogs(const runner::v1::EndOfLogs& end) {
  has_end_ = true;
  for (const runner::v1::LogPosition& position : end.last())
    last_[position.source()] = position.sequence();
  CheckEnd();
}

// The end is stored only after all that comes before it.
void RunnerLink::CheckEnd() {
  if (!has_end_ || batches_in_flight_ > 0 || is_end_told_) return;
  if (is_end_sent_) {
    is_end_told_ = true;
    events_->OnLogsEnded();
    return;
  }
  for (const auto& [source, sequence] : last_) {
    if (stored_[source] >= sequence) continue;
    Fail(absl::DataLossError(base::ToAbsl(
        fmt::format("the logs end at {} but only {} is stored", sequence, stored_[source]))));
    return;
  }
  is_end_sent_ = true;
  for (const LogSource source : kSources) {
    LogStore::Append append{options_.job_id, {}, /*is_end=*/true};
    append.batch.set_source(source);
    Store(std::move(append), 0);
  }
}

void RunnerLink::ReadOnIfRoom() {
  if (events_ == nullptr || !wants_read_) return;
  const bool has_room =
      bytes_in_flight_ < kMostInFlight && (ingest_.HasRoom() || batches_in_flight_ == 0);
  if (!has_room) return;
  wants_read_ = false;
  stream_->ReadNext();
}

void RunnerLink::StopJob(std::chrono::milliseconds grace) {
  runner::v1::SessionRequest request;
  auto* duration = request.mutable_stop_job()->mutable_grace();
  duration->set_seconds(grace.count() / 1000);
  duration->set_nanos(static_cast<std::int32_t>(grace.count() % 1000 * 1'000'000));
  stream_->Send(std::move(request));
}

void RunnerLink::AckEnd() {
  runner::v1::SessionRequest request;
  request.mutable_ack_end();
  stream_->Send(std::move(request));
}

void RunnerLink::Fail(absl::Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  stream_->Cancel();
}

void RunnerLink::OnDone(const absl::Status& status) {
  Events* events = std::exchange(events_, nullptr);
  if (events == nullptr) return;
  if (!failure_.ok()) {
    events->OnRunnerLinkEnded(failure_);
  } else {
    events->OnRunnerLinkEnded(status.ok() ? base::Unavailable("the runner ended the session")
                                          : status);
  }
}

void RunnerLink::Close() {
  events_ = nullptr;
  stream_->Detach();
}

}  // namespace dstack::server
