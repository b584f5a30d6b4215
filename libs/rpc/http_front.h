#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "libs/base/file.h"

namespace dstack::rpc {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query
  std::string query;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Answers one request. Called on the front's only thread: must not block for longer than rendering
// takes.
using HttpHandler = std::function<HttpResponse(const HttpRequest& request)>;

// A small HTTP/1.1 server for connections that someone else accepted: health, metrics. Requests
// have at most 16 KiB of head and 64 KiB of body; a connection that is silent for 15 s, or one too
// many, is closed. Answers GET and HEAD, everything else is 405.
class HttpFront {
 public:
  explicit HttpFront(HttpHandler handler, std::size_t max_connections = 256);
  // Closes all connections.
  ~HttpFront();
  HttpFront(const HttpFront&) = delete;
  HttpFront& operator=(const HttpFront&) = delete;

  // Takes a connected, non-blocking TCP socket. Thread-safe.
  void Adopt(base::UniqueFd connection);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace dstack::rpc
