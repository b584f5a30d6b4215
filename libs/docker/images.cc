#include "libs/docker/images.h"

#include <utility>

#include <absl/strings/escaping.h>
#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::docker {
namespace {

using nlohmann::json;

std::string_view LastComponent(std::string_view reference) {
  const std::size_t slash = reference.rfind('/');
  return slash == reference.npos ? reference : reference.substr(slash + 1);
}

std::vector<std::string> StringList(const json& object, const char* key) {
  std::vector<std::string> list;
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return list;
  for (const json& item : *it) {
    if (item.is_string()) list.push_back(item.get<std::string>());
  }
  return list;
}

std::string StringField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// The engine hands the registry's words on as text, mostly as an internal error.
absl::StatusCode CodeFromPullMessage(std::string_view message) {
  static constexpr std::pair<std::string_view, absl::StatusCode> kPatterns[] = {
      {"pull access denied", absl::StatusCode::kPermissionDenied},
      {"unauthorized", absl::StatusCode::kPermissionDenied},
      {"no basic auth credentials", absl::StatusCode::kPermissionDenied},
      {"authentication required", absl::StatusCode::kPermissionDenied},
      {"manifest unknown", absl::StatusCode::kNotFound},
      {"not found", absl::StatusCode::kNotFound},
      {"toomanyrequests", absl::StatusCode::kResourceExhausted},
      {"no space left on device", absl::StatusCode::kResourceExhausted},
      {"invalid reference format", absl::StatusCode::kInvalidArgument},
  };
  for (const auto& [text, code] : kPatterns) {
    if (message.find(text) != message.npos) return code;
  }
  return absl::StatusCode::kUnavailable;
}

absl::Status PullError(std::string_view message) {
  return absl::Status(CodeFromPullMessage(message), base::ToAbsl(message));
}

absl::Status PullResult(const PullTracker& tracker) {
  if (!tracker.errors().empty()) return PullError(absl::StrJoin(tracker.errors(), "; "));
  if (tracker.is_complete()) return absl::OkStatus();
  return absl::UnavailableError("the engine ended the pull without saying that it is complete");
}

}  // namespace

std::string WithTag(std::string_view reference) {
  const bool has_tag = LastComponent(reference).find_first_of(":@") != reference.npos;
  return has_tag ? std::string(reference) : fmt::format("{}:latest", reference);
}

bool IsMovingTag(std::string_view reference) {
  const std::string full = WithTag(reference);
  return full.find('@') == full.npos && full.ends_with(":latest");
}

std::string RegistryAuthHeader(const RegistryCredentials& credentials) {
  const json object = {{"username", credentials.username}, {"password", credentials.password}};
  // Padded and URL-safe: the engine decodes with base64.URLEncoding.
  std::string encoded;
  absl::Base64Escape(object.dump(-1, ' ', false, json::error_handler_t::replace), &encoded);
  for (char& c : encoded) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return encoded;
}

absl::StatusOr<ImageConfig> InspectImage(const Client& client,
                                         const std::string& reference,
                                         const std::stop_token& stop) {
  ASSIGN_OR_RETURN(
      const HttpResponse response,
      client.Call({.path = fmt::format("/images/{}/json", UrlEscape(reference))}, stop));
  const json body = json::parse(response.body, nullptr, false);
  if (!body.is_object()) return absl::InternalError("the engine's image is not JSON");
  ImageConfig config;
  config.id = StringField(body, "Id");
  const auto it = body.find("Config");
  if (it == body.end() || !it->is_object()) return config;
  config.entrypoint = StringList(*it, "Entrypoint");
  config.cmd = StringList(*it, "Cmd");
  config.user = StringField(*it, "User");
  config.working_dir = StringField(*it, "WorkingDir");
  config.env = StringList(*it, "Env");
  return config;
}

absl::Status PullImage(const Client& client,
                       const PullOptions& options,
                       const std::stop_token& stop) {
  PullTracker tracker;
  LineSplitter lines([&](std::string_view line) {
    const auto event = ParsePullEvent(line);
    if (!event) return;
    tracker.Add(*event);
    if (options.on_progress) options.on_progress(tracker);
  });
  HttpRequest request{
      .method = Method::kPost,
      .path = fmt::format("/images/create?fromImage={}", UrlEscape(WithTag(options.reference))),
      .timeout = std::nullopt,
      .idle_timeout = options.idle_timeout,
      .on_data = [&](std::string_view data) { lines.Append(data); },
  };
  if (options.credentials) {
    request.headers.push_back("X-Registry-Auth: " + RegistryAuthHeader(*options.credentials));
  }
  const absl::StatusOr<HttpResponse> response = client.Call(std::move(request), stop);
  lines.Finish();
  if (response.ok()) return PullResult(tracker);
  const absl::Status& status = response.status();
  // The engine answers a refusal of the registry with its own internal error.
  return status.code() == absl::StatusCode::kInternal ? PullError(base::Message(status)) : status;
}

absl::Status ImportImage(const Client& client,
                         const std::string& reference,
                         std::string tar,
                         const std::vector<std::string>& changes,
                         const std::stop_token& stop) {
  const std::string full = WithTag(reference);
  const std::size_t colon = full.rfind(':');
  std::string path = fmt::format("/images/create?fromSrc=-&repo={}&tag={}",
                                 UrlEscape(full.substr(0, colon)),
                                 UrlEscape(full.substr(colon + 1)));
  for (const std::string& change : changes) path += "&changes=" + UrlEscape(change);
  PullTracker tracker;
  LineSplitter lines([&](std::string_view line) {
    if (const auto event = ParsePullEvent(line)) tracker.Add(*event);
  });
  RETURN_IF_ERROR(client
                      .Call({.method = Method::kPost,
                             .path = path,
                             .body = std::move(tar),
                             .content_type = "application/x-tar",
                             .timeout = std::chrono::minutes(5),
                             .on_data = [&](std::string_view data) { lines.Append(data); }},
                            stop)
                      .status());
  lines.Finish();
  if (!tracker.errors().empty()) {
    return absl::InternalError(absl::StrJoin(tracker.errors(), "; "));
  }
  return absl::OkStatus();
}

absl::Status RemoveImage(const Client& client,
                         const std::string& reference,
                         const std::stop_token& stop) {
  const absl::Status status =
      client
          .Call({.method = Method::kDelete,
                 .path = fmt::format("/images/{}?force=true", UrlEscape(reference)),
                 .timeout = std::chrono::seconds(60)},
                stop)
          .status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace dstack::docker
