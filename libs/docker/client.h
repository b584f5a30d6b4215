#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include <absl/status/statusor.h>

#include "libs/docker/endpoint.h"
#include "libs/docker/http.h"

namespace dstack::docker {

// What the engine tells about itself.
struct EngineInfo {
  std::string server_version;  // "20.10.24"
  std::string root_dir;        // where images and containers are kept
  std::string cgroup_version;  // "1" or "2"
  bool has_nvidia_runtime = false;
  std::vector<std::string> runtimes;  // names of its OCI runtimes, sorted
  std::string default_runtime;        // of containers that name none; "runc" as a rule
};

// The Docker Engine API. Thread-safe; calls block up to the limits given in each function. Errors:
//   UNAVAILABLE          no engine at the endpoint, or it went away during the call
//   NOT_FOUND, FAILED_PRECONDITION, ALREADY_EXISTS, INVALID_ARGUMENT, PERMISSION_DENIED, INTERNAL
//                        the engine's answer; the message is the engine's own
//   DEADLINE_EXCEEDED, CANCELLED
// Copies share their connections.
class Client {
 public:
  // Pings the engine and agrees on an API version: the highest that both sides know, not
  // below 1.30. UNAVAILABLE when no engine answers, FAILED_PRECONDITION when it is too old.
  static absl::StatusOr<Client> Connect(Endpoint endpoint, const std::stop_token& stop = {});

  // For tests: takes the version ("1.41") as given and asks nobody.
  Client(Endpoint endpoint, std::string api_version);

  const Endpoint& endpoint() const { return endpoint_; }
  const std::string& api_version() const { return api_version_; }

  absl::Status Ping(const std::stop_token& stop = {}) const;
  absl::StatusOr<EngineInfo> Info(const std::stop_token& stop = {}) const;

  // For the functions of images.h and containers.h: a call with the version in front of the path;
  // status codes from 400 on become errors.
  absl::StatusOr<HttpResponse> Call(HttpRequest request, const std::stop_token& stop) const;
  void CallAsync(HttpRequest request, AsyncHttp::Callback callback) const;

 private:
  std::string VersionedPath(const std::string& path) const;

  Endpoint endpoint_;
  std::string api_version_;
  std::shared_ptr<AsyncHttp> async_;
};

// Makes the error of an answer of the engine, or OK. Exposed for tests.
absl::Status StatusFromResponse(const HttpResponse& response);

}  // namespace dstack::docker
