#include "tests/component/runner_agent/session_client.h"

#include <algorithm>
#include <chrono>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

google::protobuf::Duration ToProto(double seconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(static_cast<std::int64_t>(seconds));
  duration.set_nanos(
      static_cast<std::int32_t>((seconds - static_cast<double>(duration.seconds())) * 1e9));
  return duration;
}

}  // namespace

SessionClient::SessionClient(const std::string& target,
                             const std::string& token,
                             ServerStore& store,
                             Settings settings)
    : store_(store), reads_slowly_(settings.reads_slowly), acknowledges_(settings.acknowledges) {
  // gRPC shares connections between channels of one address; each session gets its own.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  REQUIRE(channel_->WaitForConnected(std::chrono::system_clock::now() + kPatience));
  stub_ = v1::RunnerService::NewStub(channel_);
  context_.AddMetadata("authorization", "Bearer " + token);
  stream_ = stub_->Session(&context_);
  v1::SessionRequest request;
  request.mutable_hello()->set_epoch(settings.epoch);
  request.mutable_hello()->set_protocol_version(1);
  for (const auto& [source, sequence] : store_.positions) {
    v1::LogPosition* position = request.mutable_hello()->add_log_positions();
    position->set_source(source);
    position->set_sequence(sequence);
  }
  stream_->Write(request);
  reader_ = std::thread([this] { Read(); });
}

SessionClient::~SessionClient() {
  context_.TryCancel();
  reader_.join();
}

void SessionClient::Read() {
  v1::SessionResponse response;
  while (stream_->Read(&response)) {
    Handle(response);
    if (response.has_log_batch() && reads_slowly_) std::this_thread::sleep_for(100ms);
  }
  const grpc::Status status = stream_->Finish();
  base::MutexLock lock(mutex_);
  closed_ = status;
}

void SessionClient::Handle(const v1::SessionResponse& response) {
  std::optional<std::pair<common::v1::LogSource, std::uint64_t>> ack;
  {
    base::MutexLock lock(mutex_);
    if (response.sequence() != ++last_response_) store_.defect = "responses have holes";
    if (response.has_hello()) {
      hello_ = status_ = response.hello().job_status();
      runner_version_ = response.hello().runner_version();
    }
    if (response.has_job_status()) {
      if (status_ && status_->revision() >= response.job_status().revision()) {
        store_.defect = "revision does not rise";
      }
      status_ = response.job_status();
    }
    if (response.has_files_needed()) {
      files_needed_.emplace(response.files_needed().digests().begin(),
                            response.files_needed().digests().end());
    }
    if (response.has_job_refused()) refused_ = response.job_refused();
    if (response.has_end_of_logs()) end_ = response.end_of_logs();
    if (response.has_metrics()) {
      ++metrics_count_;
      metrics_ = response.metrics();
    }
    if (response.has_ssh_activity()) activity_ = response.ssh_activity();
    if (response.has_log_batch()) {
      Store(response.log_batch());
      const auto source = response.log_batch().source();
      if (acknowledges_) ack.emplace(source, store_.positions[source]);
    }
  }
  if (ack) Ack(ack->first, ack->second);
}

void SessionClient::Store(const common::v1::LogBatch& batch) {
  std::uint64_t& position = store_.positions[batch.source()];
  for (const common::v1::LogRecord& record : batch.records()) {
    if (record.sequence() != position + 1) {
      store_.defect = "record " + std::to_string(record.sequence()) + " came behind " +
                      std::to_string(position);
    }
    position = record.sequence();
    if (record.time_unix_nano() < store_.last_time[batch.source()] && record.dropped_bytes() == 0) {
      store_.defect = "time goes back at record " + std::to_string(record.sequence());
    }
    store_.first_time.emplace(batch.source(), record.time_unix_nano());
    store_.last_time[batch.source()] = record.time_unix_nano();
    if (store_.keeps_text || batch.source() == common::v1::LOG_SOURCE_RUNNER) {
      store_.text[batch.source()] += record.data();
    }
    store_.bytes[batch.source()] += record.data().size();
    store_.digests[batch.source()].Update(record.data());
    store_.split_lines += record.is_line_split() ? 1 : 0;
    store_.dropped_bytes += record.dropped_bytes();
  }
}

void SessionClient::Ack(common::v1::LogSource source, std::uint64_t sequence) {
  v1::SessionRequest request;
  request.mutable_ack_logs()->mutable_position()->set_source(source);
  request.mutable_ack_logs()->mutable_position()->set_sequence(sequence);
  Write(request);
}

void SessionClient::Acknowledge() {
  std::map<common::v1::LogSource, std::uint64_t> positions;
  {
    base::MutexLock lock(mutex_);
    acknowledges_ = true;
    positions = store_.positions;
  }
  for (const auto& [source, sequence] : positions) Ack(source, sequence);
}

void SessionClient::Write(const v1::SessionRequest& request) {
  base::MutexLock lock(write_mutex_);
  stream_->Write(request);
}

void SessionClient::Submit(const v1::JobSpec& job) {
  v1::SessionRequest request;
  *request.mutable_submit_job()->mutable_job() = job;
  Write(request);
}

void SessionClient::SendFile(const std::string& digest, const std::string& bytes) {
  constexpr std::size_t kChunk = 1000;
  std::size_t offset = 0;
  do {
    v1::SessionRequest request;
    auto* chunk = request.mutable_file_chunk();
    chunk->set_digest(digest);
    chunk->set_offset(offset);
    chunk->set_data(bytes.substr(offset, kChunk));
    offset += kChunk;
    chunk->set_is_last(offset >= bytes.size());
    Write(request);
  } while (offset < bytes.size());
}

void SessionClient::StartJob() {
  v1::SessionRequest request;
  request.mutable_start_job();
  Write(request);
}

void SessionClient::StopJob(double grace_seconds) {
  v1::SessionRequest request;
  *request.mutable_stop_job()->mutable_grace() = ToProto(grace_seconds);
  Write(request);
}

void SessionClient::AckEnd() {
  v1::SessionRequest request;
  request.mutable_ack_end();
  Write(request);
}

void SessionClient::Await(const std::string& what, const std::function<bool()>& condition) const {
  testing::Await(
      patience_,
      [&] {
        base::MutexLock lock(mutex_);
        return condition();
      },
      [&] {
        base::MutexLock lock(mutex_);
        return what + "; status " + (status_ ? status_->ShortDebugString() : "none") + "; closed " +
               (closed_ ? closed_->error_message() : "no") + "; refused " +
               (refused_ ? refused_->message() : "no") + "; runner log:\n" +
               store_.text[common::v1::LOG_SOURCE_RUNNER];
      });
}

v1::JobStatus SessionClient::AwaitState(v1::JobState state) {
  Await("waiting for " + v1::JobState_Name(state),
        [&]() NO_THREAD_SAFETY_ANALYSIS { return status_ && status_->state() == state; });
  return status();
}

std::string SessionClient::runner_version() const {
  base::MutexLock lock(mutex_);
  return runner_version_;
}

v1::JobStatus SessionClient::AwaitHello() {
  Await("waiting for the hello", [&]() NO_THREAD_SAFETY_ANALYSIS { return hello_.has_value(); });
  base::MutexLock lock(mutex_);
  return *hello_;
}

v1::EndOfLogs SessionClient::AwaitEndOfLogs() {
  Await("waiting for the end of the logs",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return end_.has_value(); });
  base::MutexLock lock(mutex_);
  CHECK(store_.defect.empty());
  for (const v1::LogPosition& last : end_->last()) {
    CHECK(store_.positions[last.source()] == last.sequence());
  }
  return *end_;
}

std::vector<std::string> SessionClient::AwaitFilesNeeded() {
  Await("waiting for the wanted files",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return files_needed_.has_value(); });
  base::MutexLock lock(mutex_);
  return *std::exchange(files_needed_, std::nullopt);
}

v1::JobRefused SessionClient::AwaitRefused() {
  Await("waiting for a refusal", [&]() NO_THREAD_SAFETY_ANALYSIS { return refused_.has_value(); });
  base::MutexLock lock(mutex_);
  return *std::exchange(refused_, std::nullopt);
}

void SessionClient::AwaitText(common::v1::LogSource source, const std::string& part) {
  Await("waiting for text '" + part + "'", [&]() NO_THREAD_SAFETY_ANALYSIS {
    return store_.text[source].find(part) != std::string::npos;
  });
}

grpc::Status SessionClient::AwaitClosed() {
  Await("waiting for the end of the session",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return closed_.has_value(); });
  base::MutexLock lock(mutex_);
  return *closed_;
}

v1::JobStatus SessionClient::AwaitSshPort() {
  Await("waiting for sshd",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return status_ && status_->ssh_port() != 0; });
  return status();
}

v1::JobStatus SessionClient::status() const {
  base::MutexLock lock(mutex_);
  return status_.value_or(v1::JobStatus());
}

std::string SessionClient::Text(common::v1::LogSource source) const {
  base::MutexLock lock(mutex_);
  return store_.text[source];
}

std::uint64_t SessionClient::Bytes(common::v1::LogSource source) const {
  base::MutexLock lock(mutex_);
  return store_.bytes[source];
}

std::uint64_t SessionClient::Position(common::v1::LogSource source) const {
  base::MutexLock lock(mutex_);
  return store_.positions[source];
}

std::optional<v1::JobMetrics> SessionClient::metrics() const {
  base::MutexLock lock(mutex_);
  return metrics_;
}

std::optional<v1::SshActivity> SessionClient::activity() const {
  base::MutexLock lock(mutex_);
  return activity_;
}

std::string ServerStore::Digest(common::v1::LogSource source) {
  return digests[source].FinishHex();
}

v1::GetJobResponse GetJob(const std::string& target, const std::string& token) {
  const auto stub =
      v1::RunnerService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + token);
  context.set_wait_for_ready(true);
  v1::GetJobResponse response;
  const grpc::Status status = stub->GetJob(&context, {}, &response);
  INFO(status.error_message());
  REQUIRE(status.ok());
  return response;
}

v1::JobSpec MakeJob(const std::vector<std::string>& command) {
  v1::JobSpec job;
  job.mutable_identity()->set_run_id("run-id");
  job.mutable_identity()->set_run_name("run");
  job.mutable_identity()->set_job_id("job-id");
  job.mutable_identity()->set_jobs_per_replica(1);
  for (const std::string& argument : command) job.add_command(argument);
  return job;
}

v1::JobSpec MakeShellJob(const std::string& script) { return MakeJob({"/bin/sh", "-c", script}); }

}  // namespace dstack::runner
