#include "libs/rpc/server.h"

#include <atomic>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "grpc/health/v1/health.pb.h"

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/port_splitter.h"

namespace dstack::rpc {
namespace {

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

constexpr unsigned kCertificateReloadSeconds = 60;
constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
// Lets load spread over replicas: clients connect again, long streams get as long again to end.
constexpr int kMaxConnectionAgeMs = 3'600'000;

// Health and reflection of the library are switched on for the whole process, once.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // Links health.proto, so that reflection can describe it.
    grpc::health::v1::HealthCheckRequest::descriptor();
  });
}

absl::Status CheckReadable(const std::string& flag, const std::string& path) {
  auto content = base::ReadFile(path, 1 << 20);
  if (!content.ok()) return base::Annotate(content.status(), "{} '{}'", flag, path);
  if (content->find("-----BEGIN ") == std::string::npos) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("{} '{}': is no PEM file", flag, path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const ServerOptions& options) {
  const auto& certificate = options.tls_certificate_file;
  const auto& key = options.tls_key_file;
  if (certificate.empty() && key.empty()) return grpc::InsecureServerCredentials();
  if (certificate.empty() || key.empty()) {
    return base::Invalid("TLS needs both files: certificate (--tls-cert) and key (--tls-key)");
  }
  RETURN_IF_ERROR(CheckReadable("--tls-cert", certificate));
  RETURN_IF_ERROR(CheckReadable("--tls-key", key));
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      key, certificate, kCertificateReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions tls(provider);
  tls.watch_identity_key_cert_pairs();
  tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(tls);
}

void Configure(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder.SetMaxSendMessageSize(-1);
  grpc::ResourceQuota quota("server");
  quota.SetMaxThreads(options.max_threads);
  builder.SetResourceQuota(quota);
  // One idle poller: memory matters more than the microseconds a new thread costs.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(kKeepaliveMinInterval.count()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kMaxConnectionAgeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kMaxConnectionAgeMs);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
}

absl::StatusOr<ListenSocket> OpenPort(const ServerOptions& options, bool is_tls) {
  auto socket = Listen(options.host, options.port);
  if (!socket.ok() && socket.status().code() == absl::StatusCode::kAlreadyExists) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "INVALID_STATE",
        fmt::format("port {} of {} is in use by another program; choose another one with --port",
                    options.port,
                    options.host));
  }
  if (!socket.ok()) return socket.status();
  if (!socket->is_loopback && !is_tls && !options.is_plaintext_allowed) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "INVALID_STATE",
        fmt::format(
            "host {} can be reached from other machines, and tokens would travel unencrypted; give "
            "--tls-cert and --tls-key, or accept that with --insecure",
            options.host));
  }
  return socket;
}

class OnePortServer final : public Server {
 public:
  OnePortServer(std::unique_ptr<grpc::Server> server,
                std::unique_ptr<Acceptor> acceptor,
                ListenSocket socket,
                bool is_tls,
                const ServerOptions& options)
      : service_names_(options.service_names),
        port_(socket.port),
        address_(socket.address),
        is_tls_(is_tls),
        grpc_server_(std::move(server)),
        acceptor_(std::move(acceptor)),
        http_(options.http) {
    SetServing(false);
    splitter_ = std::make_unique<PortSplitter>(
        std::move(socket.fd), [this](WireProtocol protocol, base::UniqueFd connection) {
          Route(protocol, std::move(connection));
        });
  }

  ~OnePortServer() override { Shutdown(std::chrono::milliseconds(0)); }

  void SetServing(bool is_serving) override {
    is_serving_ = is_serving;
    auto* health = grpc_server_->GetHealthCheckService();
    if (health == nullptr) return;
    health->SetServingStatus(is_serving);
    health->SetServingStatus("", is_serving);
    for (const std::string& name : service_names_) health->SetServingStatus(name, is_serving);
  }

  bool IsServing() const override { return is_serving_; }

  void Shutdown(std::chrono::milliseconds grace) override {
    if (is_shut_down_.exchange(true)) return;
    SetServing(false);
    splitter_.reset();
    grpc_server_->Shutdown(std::chrono::system_clock::now() + grace);
    grpc_server_->Wait();
  }

  std::uint16_t port() const override { return port_; }
  const std::string& address() const override { return address_; }
  bool is_tls() const override { return is_tls_; }

 private:
  void Route(WireProtocol protocol, base::UniqueFd connection) {
    if (protocol == WireProtocol::kHttp1) {
      http_.Adopt(std::move(connection));
      return;
    }
    const bool is_wanted = is_tls_ == (protocol == WireProtocol::kTls);
    if (!is_wanted) return;  // closes it
    Acceptor::NewConnectionParameters parameters;
    parameters.listener_fd = -1;
    parameters.fd = connection.release();
    acceptor_->HandleNewConnection(&parameters);
  }

  const std::vector<std::string> service_names_;
  const std::uint16_t port_;
  const std::string address_;
  const bool is_tls_;
  std::atomic<bool> is_serving_{false};
  std::atomic<bool> is_shut_down_{false};
  std::unique_ptr<grpc::Server> grpc_server_;
  std::unique_ptr<Acceptor> acceptor_;
  HttpFront http_;
  std::unique_ptr<PortSplitter> splitter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  EnablePlugins();
  ASSIGN_OR_RETURN(auto credentials, MakeCredentials(options));
  const bool is_tls = !options.tls_certificate_file.empty();
  ASSIGN_OR_RETURN(ListenSocket socket, OpenPort(options, is_tls));
  grpc::ServerBuilder builder;
  Configure(options, builder);
  auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return base::Internal("gRPC did not start");
  return std::make_unique<OnePortServer>(
      std::move(server), std::move(acceptor), std::move(socket), is_tls, options);
}

}  // namespace dstack::rpc
