#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/runner/v1/runner_service.pb.h"
#include "services/runner/control/control.pb.h"

#include "services/runner/loop/event_loop.h"
#include "services/runner/repo/checkout.h"
#include "services/runner/serve/file_store.h"
#include "services/runner/serve/log_stream.h"
#include "services/runner/serve/session.h"
#include "services/runner/serve/supervisor_port.h"
#include "services/runner/serve/usage_reporter.h"
#include "services/runner/state/task_dir.h"

namespace dstack::runner {

// What a runner does between the server's session and the supervisor. Knows no gRPC. Everything
// runs on the loop's thread.
class ServeCore {
 public:
  // References outlive the core. `checkout` is where code and files are put in place. `on_end` is
  // called once the server has acknowledged the end.
  ServeCore(EventLoop& loop,
            const TaskDir& dir,
            SupervisorPort& supervisor,
            CheckoutContext checkout,
            std::function<void()> on_end);
  ~ServeCore();

  // Reads epoch and job of an earlier process.
  absl::Status Load();

  // The supervisor's side.
  void OnStatus(const v1::JobStatus& status);
  void OnAppended();

  // The server's side. A session that sent no hello yet is not known to the core.
  void OnRequest(const std::shared_ptr<Session>& session, const v1::SessionRequest& request);
  void OnWritable(const std::shared_ptr<Session>& session);
  void OnClosed(const std::shared_ptr<Session>& session);
  // UNAVAILABLE to the session, if there is one.
  void Shutdown();

  // Debug calls.
  v1::GetJobResponse GetJob() const;
  absl::StatusOr<v1::TailLogsResponse> TailLogs(common::v1::LogSource source) const;
  v1::StopJobResponse StopJob(const v1::StopJobRequest& request);

 private:
  void OnHello(const std::shared_ptr<Session>& session, const v1::RunnerServerHello& hello);
  absl::Status AdoptEpoch(std::uint64_t epoch);
  absl::Status OpenStreams(const v1::RunnerServerHello& hello);
  void OnCommand(const v1::SessionRequest& request);
  bool IsStarted() const;
  void OnSubmit(const v1::JobSpec& job);
  absl::Status AcceptJob(const v1::JobSpec& job);
  void OnChunk(const v1::FileChunk& chunk);
  void OnStart();
  void TellLine(const std::string& line);
  void OnUnpacked(const absl::Status& status);
  void OnAckLogs(const v1::LogPosition& position);
  void OnAckEnd();
  void TellEnd();
  void NoteAcked(const v1::LogPosition& position);
  void SaveAcked();

  void Respond(v1::SessionResponse response);
  void Refuse(const absl::Status& why);
  void SendFilesNeeded();
  void PumpLogs();
  void PumpWhatWaits();
  absl::StatusOr<bool> PumpStream(LogStream& stream);
  void SendEndOfLogs();
  bool SendUsage(v1::SessionResponse response);
  void DropSession(const absl::Status& status);

  EventLoop& loop_;
  const TaskDir& dir_;
  SupervisorPort& supervisor_;
  const CheckoutContext checkout_;
  const std::function<void()> on_end_;
  FileStore files_;
  v1::JobStatus status_;
  v1::JobSpec job_;
  bool has_job_ = false;
  std::uint64_t epoch_ = 0;
  std::map<common::v1::LogSource, std::uint64_t> acked_;
  EventLoop::TimerId save_acked_ = EventLoop::kNoTimer;

  std::shared_ptr<Session> session_;
  std::uint64_t next_response_ = 1;
  std::map<common::v1::LogSource, LogStream> streams_;
  bool is_end_sent_ = false;
  // Nothing was left behind by the last pump, neither for want of room nor of acknowledgements.
  bool is_drained_ = true;
  std::chrono::steady_clock::time_point last_batch_;
  EventLoop::TimerId pump_ = EventLoop::kNoTimer;
  const base::RealClock clock_;
  UsageReporter usage_;

  std::jthread unpacker_;
  bool is_starting_ = false;
};

}  // namespace dstack::runner
