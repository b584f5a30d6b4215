#include "libs/docker/images.h"

#include <utility>

#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/docker/pull_error.h"

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

absl::Status PullResult(const PullTracker& tracker) {
  if (!tracker.errors().empty()) return PullError(absl::StrJoin(tracker.errors(), "; "));
  if (tracker.is_complete()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kUnavailable,
                     kPullFailed,
                     "the engine ended the pull without saying that it is complete");
}

absl::Status Delete(const Client& client,
                    const std::string& reference,
                    bool is_forced,
                    const std::stop_token& stop) {
  const absl::Status status =
      client
          .Call({.method = Method::kDelete,
                 .path = fmt::format("/images/{}?force={}", UrlEscape(reference), is_forced),
                 .timeout = std::chrono::seconds(60)},
                stop)
          .status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// Ends a pull that says much and moves nothing: an engine that waits for its next attempt counts
// the seconds aloud.
class StallWatch {
 public:
  StallWatch(std::chrono::milliseconds limit, const std::stop_token& stop)
      : limit_(limit), forward_(stop, [this] { stop_.request_stop(); }) {}

  void Observe(const PullTracker& tracker) {
    const auto now = std::chrono::steady_clock::now();
    if (tracker.moves() != moves_) {
      moves_ = tracker.moves();
      last_move_ = now;
    } else if (now - last_move_ > limit_) {
      is_stalled_ = true;
      stop_.request_stop();
    }
  }
  std::stop_token token() const { return stop_.get_token(); }
  bool is_stalled() const { return is_stalled_; }

 private:
  const std::chrono::milliseconds limit_;
  std::stop_source stop_;
  const std::stop_callback<std::function<void()>> forward_;
  std::uint64_t moves_ = 0;
  std::chrono::steady_clock::time_point last_move_ = std::chrono::steady_clock::now();
  bool is_stalled_ = false;
};

}  // namespace

std::string WithTag(std::string_view reference) {
  const bool has_tag = LastComponent(reference).find_first_of(":@") != reference.npos;
  return has_tag ? std::string(reference) : fmt::format("{}:latest", reference);
}

bool IsMovingTag(std::string_view reference) {
  const std::string full = WithTag(reference);
  return full.find('@') == full.npos && full.ends_with(":latest");
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
  if (const auto size = body.find("Size"); size != body.end() && size->is_number_unsigned()) {
    config.size_bytes = size->get<std::uint64_t>();
  }
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
  StallWatch watch(options.stall_limit, stop);
  LineSplitter lines([&](std::string_view line) {
    if (options.on_line) options.on_line(line);
    const auto event = ParsePullEvent(line);
    if (!event) return;
    tracker.Add(*event);
    watch.Observe(tracker);
    if (options.on_progress) options.on_progress(tracker);
  });
  HttpRequest request{
      .method = Method::kPost,
      .path = fmt::format("/images/create?fromImage={}", UrlEscape(WithTag(options.reference))),
      .timeout = std::nullopt,
      .idle_timeout = options.stall_limit,
      .on_data = [&](std::string_view data) { lines.Append(data); },
  };
  if (options.credentials) {
    request.headers.push_back("X-Registry-Auth: " + RegistryAuthHeader(*options.credentials));
  }
  const absl::StatusOr<HttpResponse> response = client.Call(std::move(request), watch.token());
  lines.Finish();
  if (response.ok()) return PullResult(tracker);
  const absl::Status& status = response.status();
  if (watch.is_stalled() || absl::IsDeadlineExceeded(status)) {
    return PullStalledError(fmt::format(
        "{} s", std::chrono::duration_cast<std::chrono::seconds>(options.stall_limit).count()));
  }
  // The engine answers a refusal of the registry with an error of its own.
  const bool is_answer = !absl::IsCancelled(status) && !absl::IsUnavailable(status);
  return is_answer ? PullError(base::Message(status)) : status;
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
  return Delete(client, reference, /*is_forced=*/true, stop);
}

absl::Status RemoveUnusedImage(const Client& client,
                               const std::string& reference,
                               const std::stop_token& stop) {
  return Delete(client, reference, /*is_forced=*/false, stop);
}

absl::StatusOr<std::set<std::string>> ImagesOfContainers(const Client& client,
                                                         const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const HttpResponse response,
                   client.Call({.path = "/containers/json?all=true"}, stop));
  const json body = json::parse(response.body, nullptr, false);
  if (!body.is_array()) return absl::InternalError("the engine's list of containers is not JSON");
  std::set<std::string> ids;
  for (const json& container : body) {
    if (container.is_object()) ids.insert(StringField(container, "ImageID"));
  }
  return ids;
}

}  // namespace dstack::docker
