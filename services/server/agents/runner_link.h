#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dstack/runner/v1/runner_service.grpc.pb.h"

#include "absl/status/status.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/rpc/bidi_stream.h"
#include "services/server/agents/mailbox.h"
#include "services/server/logs/log_ingest.h"
#include "services/server/ports/log_store.h"

namespace dstack::server {

// One session with the runner of one job: hands the job over, stores its logs, tells its state.
// Belongs to one serial executor: all methods and events run there. A broken session is not mended;
// the owner makes a new one, which goes on where this one stopped.
class RunnerLink : public std::enable_shared_from_this<RunnerLink> {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnRunnerStatus(const runner::v1::JobStatus& status) = 0;
    virtual void OnJobMetrics(const runner::v1::JobMetrics& metrics) = 0;
    virtual void OnSshActivity(const runner::v1::SshActivity& activity) = 0;
    // Content of an archive of the job.
    virtual absl::StatusOr<std::string> LoadArchive(const std::string& digest) = 0;
    // The job can never start; the message is for people.
    virtual void OnJobRefused(const std::string& message) = 0;
    // Every record of every source is durable.
    virtual void OnLogsEnded() = 0;
    // Last event.
    virtual void OnRunnerLinkEnded(const absl::Status& status) = 0;
  };
  struct Options {
    JobId job_id;
    std::string socket;  // local
    std::string token;
    std::uint64_t epoch = 0;
    std::vector<LogPosition> positions;  // what is stored already
  };

  // Opens the session. `mailbox` leads to the executor. The others outlive the object or Close() is
  // called before they go.
  static std::shared_ptr<RunnerLink> Open(std::shared_ptr<Mailbox> mailbox,
                                          LogIngest& ingest,
                                          Events& events,
                                          Options options);

  // Hands the job over, sends the archives that the runner asks for and starts the command. Once
  // per link; the runner starts a command at most once however often it is asked.
  void OfferJob(const runner::v1::JobSpec& job);
  // Stops the command; may be repeated with another grace.
  void StopJob(std::chrono::milliseconds grace);
  // Everything is stored: the runner may leave.
  void AckEnd();
  // The runner has answered.
  bool is_up() const { return is_up_; }
  // No event comes after this. Idempotent.
  void Close();

 private:
  using Stream = rpc::BidiStream<runner::v1::SessionRequest, runner::v1::SessionResponse>;

  RunnerLink(std::shared_ptr<Mailbox> mailbox, LogIngest& ingest, Events& events, Options options);
  void Begin();
  void OnMessage(const runner::v1::SessionResponse& response);
  void Dispatch(const runner::v1::SessionResponse& response);
  void OnHello(const runner::v1::RunnerHello& hello);
  void StartJob();
  void SendFiles(const runner::v1::FilesNeeded& needed);
  bool SendArchive(const std::string& digest);
  void Store(LogStore::Append append, std::size_t bytes);
  void OnStored(common::v1::LogSource source,
                std::size_t bytes,
                bool is_end,
                const absl::StatusOr<std::uint64_t>& sequence);
  void OnEndOfLogs(const runner::v1::EndOfLogs& end);
  void CheckEnd();
  void ReadOnIfRoom();
  void Fail(absl::Status status);
  void OnDone(const absl::Status& status);

  const std::shared_ptr<Mailbox> mailbox_;
  LogIngest& ingest_;
  Events* events_;  // null once closed
  const Options options_;
  Stream::Pointer stream_;
  bool is_up_ = false;
  absl::Status failure_;
  bool is_offered_ = false;
  bool needs_files_ = false;
  // Flow of the logs.
  std::map<common::v1::LogSource, std::uint64_t> stored_;
  std::size_t bytes_in_flight_ = 0;
  std::size_t batches_in_flight_ = 0;
  bool wants_read_ = false;
  // From the end marker on.
  bool has_end_ = false;
  std::map<common::v1::LogSource, std::uint64_t> last_;
  bool is_end_sent_ = false;
  bool is_end_told_ = false;
};

}  // namespace dstack::server
