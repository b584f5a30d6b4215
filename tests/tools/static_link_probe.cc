// Shows that the libraries under the runner link without any shared object and work so.
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>
#include <string>

#include "grpc/health/v1/health.grpc.pb.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/exec/serial_executor.h"
#include "libs/exec/thread_pool.h"
#include "libs/failpoint/failpoint.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"

namespace {

namespace base = dstack::base;
namespace health = grpc::health::v1;

class Health final : public health::Health::Service {
  grpc::Status Check(grpc::ServerContext*,
                     const health::HealthCheckRequest*,
                     health::HealthCheckResponse* response) override {
    response->set_status(health::HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  }
};

absl::Status CallOverLoopback() {
  grpc::EnableDefaultHealthCheckService(false);
  Health service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return base::Internal("the server did not start");
  auto stub = health::Health::NewStub(grpc::CreateChannel(
      fmt::format("127.0.0.1:{}", port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  health::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, {}, &response);
  return status.ok() ? absl::OkStatus() : base::Unavailable(status.error_message());
}

absl::Status Probe() {
  RETURN_IF_ERROR(FAILPOINT_STATUS("static_link_probe.start"));
  ASSIGN_OR_RETURN(const std::string text,
                   dstack::process::RunChecked({"echo", "hello"}, std::chrono::seconds(10)));
  dstack::exec::ThreadPool pool("probe", 2);
  dstack::exec::TimerQueue timers;
  dstack::exec::SerialExecutor strand(pool, timers);
  strand.Post([&] {
    dstack::telemetry::Info("probe", {{"digest", base::Sha256Hex(text)}});
  });
  strand.Drain();
  if (base::Reason(base::NotFound("PROBE", "thing", "x")) != "PROBE") {
    return base::Internal("error details are lost");
  }
  return CallOverLoopback();
}

}  // namespace

int main() {
  const absl::Status status = Probe();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
