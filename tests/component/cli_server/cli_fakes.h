// A server for tests of the command line: the real API on a loopback port, everything in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/fleet.pb.h"
#include "dstack/api/v1/metrics_service.pb.h"
#include "dstack/api/v1/run.pb.h"
#include "dstack/api/v1/run_service.pb.h"
#include "dstack/common/v1/log.pb.h"

#include "libs/base/mutex.h"

namespace dstack::cli {

// What the fake knows. The test and the handlers share it; `mutex` guards all of it, `changed` is
// notified after each change.
struct FakeState {
  struct Log {
    std::vector<common::v1::LogRecord> records;
    bool is_ended = false;
  };

  base::Mutex mutex;
  base::CondVar changed;
  bool is_stopping = false;
  std::vector<api::v1::Run> runs;
  std::map<std::string, Log> logs;  // by submission and source
  std::vector<api::v1::Fleet> fleets;
  api::v1::GetJobMetricsResponse job_metrics;  // of every job
  std::map<std::string, std::string> files;    // bytes by digest
  std::map<std::string, std::string> run_ids_by_request;
  std::map<std::string, std::vector<grpc::Status>> failures;  // by method
  std::map<std::string, int> calls;                           // by method
  // Streams of logs break after so many records, so many times.
  int break_logs_after = 0;
  int log_breaks_left = 0;
  // Called with a run that was just submitted, under the mutex.
  std::function<void(api::v1::Run*)> on_submit;
  // What the last calls brought.
  api::v1::RunSpec last_run_spec;
  api::v1::FleetSpec last_fleet_spec;
  api::v1::StopRunsRequest last_stop;
  std::vector<std::string> changed_fields;
  bool is_updatable = false;
};

class FakeServer {
 public:
  static constexpr std::string_view kToken = "secret-token";
  static constexpr std::string_view kProject = "main";

  // Listens on a free port of the loopback interface.
  FakeServer();
  ~FakeServer();

  std::string url() const;

  // Breaks all connections and listens on the same port again.
  void Restart();
  // The next calls of that method ("PlanRun") fail, one status each.
  void FailNext(const std::string& method, const grpc::Status& status);
  int CallsOf(const std::string& method);

  // A run of one job with one submission, in the given status.
  api::v1::Run AddRun(const std::string& name, api::v1::RunStatus status);
  // Changes the run and tells those who watch it.
  void ChangeRun(const std::string& name, const std::function<void(api::v1::Run*)>& change);
  // Adds output to the log of the newest submission of replica 0, job 0.
  void AppendLog(const std::string& run_name,
                 std::string_view bytes,
                 common::v1::LogSource source = common::v1::LOG_SOURCE_JOB);
  void EndLog(const std::string& run_name,
              common::v1::LogSource source = common::v1::LOG_SOURCE_JOB);
  // Ends log and run: 0 is done, everything else failed with that exit status.
  void Finish(const std::string& run_name, int exit_status);
  // From now on each submitted run writes this and ends.
  void RunEachWith(std::vector<std::string> output, int exit_status);

  void PutFleet(const api::v1::Fleet& fleet);

  // Reads or changes the state under its mutex.
  void With(const std::function<void(FakeState&)>& use);
  bool HasRun(const std::string& name);

 private:
  struct Services;
  void Start();
  void Stop();

  FakeState state_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace dstack::cli
