#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "dstack/runner/v1/runner_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/sha256.h"

namespace dstack::runner {

// What the server's side knows of one job over all its sessions: every record it acknowledged.
struct ServerStore {
  // Of all bytes so far; starts anew.
  std::string Digest(common::v1::LogSource source);

  std::map<common::v1::LogSource, std::uint64_t> positions;
  // False for floods: `text` stays empty then, `bytes` and the digest go on.
  bool keeps_text = true;
  std::map<common::v1::LogSource, std::string> text;
  std::map<common::v1::LogSource, std::uint64_t> bytes;
  std::map<common::v1::LogSource, base::Sha256> digests;
  std::map<common::v1::LogSource, std::uint64_t> first_time;
  std::map<common::v1::LogSource, std::uint64_t> last_time;
  std::uint64_t split_lines = 0;
  std::uint64_t dropped_bytes = 0;
  // Set when a batch did not continue where the one before ended.
  std::string defect;
};

// The server's end of a session. A thread reads, stores and acknowledges as the real one does.
class SessionClient {
 public:
  struct Settings {
    std::uint64_t epoch = 1;
    bool acknowledges = true;
    // Takes a message now and then, until ReadFast.
    bool reads_slowly = false;
  };

  // `store` outlives the client; one client at a time uses it. Sends the hello.
  SessionClient(const std::string& target,
                const std::string& token,
                ServerStore& store,
                Settings settings);
  SessionClient(const std::string& target, const std::string& token, ServerStore& store)
      : SessionClient(target, token, store, Settings{}) {}
  // Cuts the session.
  ~SessionClient();

  void Submit(const v1::JobSpec& job);
  void SendFile(const std::string& digest, const std::string& bytes);
  void StartJob();
  void StopJob(double grace_seconds);
  void AckEnd();
  // From now on acknowledges, and all that came before.
  void Acknowledge();
  void ReadFast() { reads_slowly_ = false; }

  // For everything that is awaited.
  void SetPatience(std::chrono::seconds patience) { patience_ = patience; }

  // Each waits for its thing and fails the test when it does not come.
  v1::JobStatus AwaitState(v1::JobState state);
  v1::JobStatus AwaitHello();
  v1::EndOfLogs AwaitEndOfLogs();
  std::vector<std::string> AwaitFilesNeeded();
  v1::JobRefused AwaitRefused();
  void AwaitText(common::v1::LogSource source, const std::string& part);
  grpc::Status AwaitClosed();
  v1::JobStatus AwaitSshPort();

  v1::JobStatus status() const;
  // As the hello told; empty before it.
  std::string runner_version() const;
  std::string Text(common::v1::LogSource source) const;
  std::uint64_t Bytes(common::v1::LogSource source) const;
  std::uint64_t Position(common::v1::LogSource source) const;
  std::optional<v1::JobMetrics> metrics() const;
  std::optional<v1::SshActivity> activity() const;
  std::uint64_t metrics_count() const { return metrics_count_; }

 private:
  void Read();
  void Handle(const v1::SessionResponse& response);
  void Store(const common::v1::LogBatch& batch);
  void Ack(common::v1::LogSource source, std::uint64_t sequence);
  void Write(const v1::SessionRequest& request);
  void Await(const std::string& what, const std::function<bool()>& condition) const;

  ServerStore& store_;
  std::atomic<bool> reads_slowly_;
  std::chrono::seconds patience_{30};
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RunnerService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;

  base::Mutex write_mutex_;
  mutable base::Mutex mutex_;
  bool acknowledges_ GUARDED_BY(mutex_);
  std::uint64_t last_response_ GUARDED_BY(mutex_) = 0;
  std::optional<v1::JobStatus> hello_ GUARDED_BY(mutex_);
  std::string runner_version_ GUARDED_BY(mutex_);
  std::optional<v1::JobStatus> status_ GUARDED_BY(mutex_);
  std::optional<v1::EndOfLogs> end_ GUARDED_BY(mutex_);
  std::optional<std::vector<std::string>> files_needed_ GUARDED_BY(mutex_);
  std::optional<v1::JobRefused> refused_ GUARDED_BY(mutex_);
  std::optional<v1::JobMetrics> metrics_ GUARDED_BY(mutex_);
  std::optional<v1::SshActivity> activity_ GUARDED_BY(mutex_);
  std::optional<grpc::Status> closed_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> metrics_count_ = 0;
  std::thread reader_;
};

// What a caller beside the session is told of the job.
v1::GetJobResponse GetJob(const std::string& target, const std::string& token);

// A job that runs this program.
v1::JobSpec MakeJob(const std::vector<std::string>& command);
// A job of `/bin/sh -c script`.
v1::JobSpec MakeShellJob(const std::string& script);

}  // namespace dstack::runner
