#include "libs/docker/client.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <absl/status/status.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::docker {
namespace {

using nlohmann::json;

struct ApiVersion {
  int major = 0;
  int minor = 0;
  auto operator<=>(const ApiVersion&) const = default;
};

// What this client was written against, and the oldest version with all that it needs.
constexpr ApiVersion kNewestVersion{1, 43};
constexpr ApiVersion kOldestVersion{1, 30};

std::optional<ApiVersion> ParseVersion(std::string_view text) {
  ApiVersion version;
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc() || minor.ptr != end) return std::nullopt;
  return version;
}

absl::StatusCode CodeFromHttp(int status_code, std::string_view message) {
  switch (status_code) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 401:
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      // One code for a name that is taken and for a state that forbids the call.
      return message.find("already in use") != message.npos ? absl::StatusCode::kAlreadyExists
                                                            : absl::StatusCode::kFailedPrecondition;
    case 503:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status StatusFromResponse(const HttpResponse& response) {
  if (response.status_code < 400) return absl::OkStatus();
  std::string message;
  const json body = json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (body.is_object() && body.contains("message") && body["message"].is_string()) {
    message = body["message"].get<std::string>();
  } else {
    message = fmt::format("HTTP {}: {}", response.status_code, response.body.substr(0, 500));
  }
  while (message.ends_with('\n')) message.pop_back();
  return absl::Status(CodeFromHttp(response.status_code, message), base::ToAbsl(message));
}

Client::Client(Endpoint endpoint, std::string api_version)
    : endpoint_(std::move(endpoint)),
      api_version_(std::move(api_version)),
      async_(std::make_shared<AsyncHttp>(endpoint_)) {}

absl::StatusOr<Client> Client::Connect(Endpoint endpoint, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const HttpResponse response, Perform(endpoint, {.path = "/version"}, stop));
  RETURN_IF_ERROR(StatusFromResponse(response));
  const json body = json::parse(response.body, nullptr, false);
  const std::string text = body.is_object() ? body.value("ApiVersion", std::string()) : "";
  const auto engine = ParseVersion(text);
  if (!engine) {
    return absl::FailedPreconditionError(
        fmt::format("{} does not answer like a Docker Engine", endpoint.ToString()));
  }
  const ApiVersion agreed = std::min(*engine, kNewestVersion);
  if (agreed < kOldestVersion) {
    return absl::FailedPreconditionError(
        fmt::format("the Docker Engine at {} speaks API version {}; {}.{} or newer is needed",
                    endpoint.ToString(),
                    text,
                    kOldestVersion.major,
                    kOldestVersion.minor));
  }
  return Client(std::move(endpoint), fmt::format("{}.{}", agreed.major, agreed.minor));
}

absl::Status Client::Ping(const std::stop_token& stop) const {
  const HttpRequest request{.path = "/_ping", .timeout = std::chrono::seconds(5)};
  ASSIGN_OR_RETURN(const HttpResponse response, Perform(endpoint_, request, stop));
  return StatusFromResponse(response);
}

absl::StatusOr<EngineInfo> Client::Info(const std::stop_token& stop) const {
  ASSIGN_OR_RETURN(const HttpResponse response, Call({.path = "/info"}, stop));
  const json body = json::parse(response.body, nullptr, false);
  if (!body.is_object()) return absl::InternalError("the engine's info is not JSON");
  EngineInfo info;
  info.server_version = body.value("ServerVersion", std::string());
  info.root_dir = body.value("DockerRootDir", std::string());
  info.default_runtime = body.value("DefaultRuntime", std::string());
  info.cgroup_version = body.value("CgroupVersion", std::string("1"));
  const auto runtimes = body.find("Runtimes");
  info.has_nvidia_runtime =
      runtimes != body.end() && runtimes->is_object() && runtimes->contains("nvidia");
  if (runtimes != body.end() && runtimes->is_object()) {
    for (const auto& [name, runtime] : runtimes->items()) info.runtimes.push_back(name);
  }
  return info;
}

std::string Client::VersionedPath(const std::string& path) const {
  return fmt::format("/v{}{}", api_version_, path);
}

absl::StatusOr<HttpResponse> Client::Call(HttpRequest request, const std::stop_token& stop) const {
  request.path = VersionedPath(request.path);
  ASSIGN_OR_RETURN(HttpResponse response, Perform(endpoint_, request, stop));
  RETURN_IF_ERROR(StatusFromResponse(response));
  return response;
}

void Client::CallAsync(HttpRequest request, AsyncHttp::Callback callback) const {
  request.path = VersionedPath(request.path);
  async_->Start(std::move(request),
                [callback = std::move(callback)](absl::StatusOr<HttpResponse> response) {
                  if (response.ok()) {
                    if (absl::Status status = StatusFromResponse(*response); !status.ok()) {
                      return callback(std::move(status));
                    }
                  }
                  callback(std::move(response));
                });
}

}  // namespace dstack::docker
