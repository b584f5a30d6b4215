#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/docker/endpoint.h"

namespace dstack::docker {

enum class Method { kGet, kPost, kDelete };

// One call of the engine's HTTP API.
struct HttpRequest {
  Method method = Method::kGet;
  // Path and query, for example "/v1.41/containers/json?all=true". Values are escaped already.
  std::string path;
  // Complete header lines, for example "X-Registry-Auth: ...".
  std::vector<std::string> headers;
  // Sent with the given type when not empty.
  std::string body;
  std::string content_type = "application/json";
  // Whole duration; absent: no limit.
  std::optional<std::chrono::milliseconds> timeout = std::chrono::seconds(10);
  // Longest silence of the engine; absent: no limit.
  std::optional<std::chrono::milliseconds> idle_timeout;
  // Receives the body of a successful answer piece by piece, on the calling thread. When absent the
  // body is collected, up to 32 MiB.
  std::function<void(std::string_view)> on_data;
};

struct HttpResponse {
  int status_code = 0;
  // Empty for a successful answer that went to on_data.
  std::string body;
};

// Blocks until the answer is complete. A status code of 400 and above is an answer, not an error.
// UNAVAILABLE: no engine there, or it closed the connection. DEADLINE_EXCEEDED: a limit was
// reached. CANCELLED: stop was requested; takes effect at once. Each call opens its own connection,
// so calls may run on any number of threads.
absl::StatusOr<HttpResponse> Perform(const Endpoint& endpoint,
                                     const HttpRequest& request,
                                     const std::stop_token& stop);

// Runs long calls, such as waiting for a container's end, on one thread of its own, however many
// there are.
class AsyncHttp {
 public:
  using Callback = std::function<void(absl::StatusOr<HttpResponse>)>;

  explicit AsyncHttp(Endpoint endpoint);
  // Ends all calls; their callbacks get CANCELLED before this returns.
  ~AsyncHttp();
  AsyncHttp(const AsyncHttp&) = delete;
  AsyncHttp& operator=(const AsyncHttp&) = delete;

  // Starts a call. The callback runs once, on the thread of this object, and must not block; it
  // must not destroy this object.
  void Start(HttpRequest request, Callback callback);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

// Escapes a value for a path segment or a query.
std::string UrlEscape(std::string_view value);

}  // namespace dstack::docker
