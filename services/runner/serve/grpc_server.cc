#include "services/runner/serve/grpc_server.h"

#include <cerrno>
#include <chrono>
#include <string>

#include <absl/strings/ascii.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grpc/health/v1/health.pb.h"

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr char kSocket[] = "runner.sock";
// Bound by this name and moved once it listens and has its owner: whoever sees runner.sock can
// connect to it.
constexpr char kNewSocket[] = "runner.sock.new";
constexpr std::size_t kMinTokenBytes = 32;
constexpr std::chrono::milliseconds kShutdownLimit{300};
// The server of this product pings through the tunnel to notice a dead one.
constexpr int kPingIntervalMs = 20'000;
constexpr int kMinClientPingMs = 1'000;

absl::StatusOr<base::Secret> LoadToken(const TaskDir& dir) {
  ASSIGN_OR_RETURN(std::string text, base::ReadFile(dir.Token()));
  absl::StripAsciiWhitespace(&text);
  if (text.size() < kMinTokenBytes) {
    return base::Invalid(
        fmt::format("{} has fewer than {} characters", dir.Token(), kMinTokenBytes));
  }
  return base::Secret(std::move(text));
}

absl::Status Publish(const std::optional<SocketOwner>& owner) {
  if (owner) {
    if (chown(kNewSocket, owner->uid, owner->gid) != 0) {
      return base::ErrnoError(
          errno, fmt::format("cannot give {} to {}:{}", kNewSocket, owner->uid, owner->gid));
    }
    if (chmod(kNewSocket, 0660) != 0) return base::ErrnoError(errno, kNewSocket);
  }
  if (rename(kNewSocket, kSocket) != 0) return base::ErrnoError(errno, kSocket);
  return absl::OkStatus();
}

void Configure(grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinClientPingMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Only health and reflection are synchronous.
  builder->SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  constexpr int kMaxMessageBytes = 8 << 20;  // a job's spec with a large environment
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const ServingOptions& options,
                                                              const TaskDir& dir,
                                                              EventLoop& loop,
                                                              ServeCore& core) {
  ASSIGN_OR_RETURN(base::Secret token, LoadToken(dir));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Mentioned so that the linker keeps the file that reflection describes.
  grpc::health::v1::HealthCheckRequest::descriptor();
  std::unique_ptr<GrpcServer> server(
      new GrpcServer(std::make_unique<RunnerService>(loop, core, std::move(token))));
  grpc::ServerBuilder builder;
  Configure(&builder);
  int port = 0;
  builder.AddListeningPort(
      fmt::format("unix:{}", kNewSocket), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(server->service_.get());
  // Of a process that was killed: one is in the way of bind, the other leads nowhere.
  unlink(kNewSocket);
  unlink(kSocket);
  const mode_t old_mask = umask(0177);
  server->server_ = builder.BuildAndStart();
  umask(old_mask);
  if (server->server_ == nullptr || port == 0) {
    return base::Unavailable(fmt::format("cannot listen on {}/{}", dir.root(), kSocket));
  }
  server->server_->GetHealthCheckService()->SetServingStatus("dstack.runner.v1.RunnerService",
                                                             true);
  RETURN_IF_ERROR(Publish(options.socket_owner));
  return server;
}

GrpcServer::~GrpcServer() {
  if (server_ == nullptr) return;
  unlink(kSocket);
  server_->GetHealthCheckService()->Shutdown();
  server_->Shutdown(std::chrono::system_clock::now() + kShutdownLimit);
  server_->Wait();
}

}  // namespace dstack::runner
