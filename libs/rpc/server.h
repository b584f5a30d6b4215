#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <grpcpp/impl/service_type.h>

#include "libs/rpc/http_front.h"

namespace dstack::rpc {

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free one
  // Plaintext for other machines. Without it and without TLS only loopback addresses are accepted.
  bool is_plaintext_allowed = false;
  // PEM files; both or none. Looked at again every minute, so that a renewed certificate is used
  // without a restart.
  std::string tls_certificate_file;
  std::string tls_key_file;
  // Calls that may run at once; further ones get RESOURCE_EXHAUSTED.
  int max_threads = 64;
  int max_receive_bytes = 8 << 20;
  // Outlive the server.
  std::vector<grpc::Service*> services;
  // Full names of the services, for grpc.health.v1.
  std::vector<std::string> service_names;
  // Answers HTTP/1.1 on the same port. Plaintext also where gRPC has TLS.
  HttpHandler http;
};

// gRPC and HTTP/1.1 on one port, with reflection and grpc.health.v1. Starts as NOT_SERVING.
class Server {
 public:
  // FAILED_PRECONDITION names what is wrong with address, port or files.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  virtual ~Server() = default;

  // What health checks say, for the whole server ("") and each service. Thread-safe.
  virtual void SetServing(bool is_serving) = 0;
  virtual bool IsServing() const = 0;
  // NOT_SERVING, no new connections, GOAWAY to the others; calls get up to `grace` to end, then
  // they are cancelled. Blocks.
  virtual void Shutdown(std::chrono::milliseconds grace) = 0;
  virtual std::uint16_t port() const = 0;
  // "127.0.0.1:3000"
  virtual const std::string& address() const = 0;
  virtual bool is_tls() const = 0;
};

}  // namespace dstack::rpc
