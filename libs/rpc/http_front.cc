#include "libs/rpc/http_front.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <sys/socket.h>

#include "libs/base/version.h"
#include "libs/exec/thread_pool.h"

// The only file that includes Boost.Beast: it takes long to compile.
namespace dstack::rpc {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = boost::asio::ip::tcp;

constexpr std::chrono::seconds kTimeout{15};
constexpr std::uint32_t kMaxHeadBytes = 16 << 10;
constexpr std::uint64_t kMaxBodyBytes = 64 << 10;

HttpRequest FromBeast(const http::request<http::string_body>& request) {
  HttpRequest result;
  result.method = std::string(request.method_string());
  const std::string target(request.target());
  const auto question = target.find('?');
  result.path = target.substr(0, question);
  if (question != std::string::npos) result.query = target.substr(question + 1);
  return result;
}

// One connection. Owned by the operation that is pending on it.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const HttpHandler& handler, std::atomic<std::size_t>& count)
      : stream_(std::move(socket)), handler_(handler), count_(count) {
    ++count_;
  }
  ~Session() { --count_; }

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeadBytes);
    parser_->body_limit(kMaxBodyBytes);
    stream_.expires_after(kTimeout);
    http::async_read(
        stream_,
        buffer_,
        *parser_,
        [self = shared_from_this()](beast::error_code error, std::size_t) { self->OnRead(error); });
  }

 private:
  void OnRead(beast::error_code error) {
    if (error == http::error::end_of_stream) {
      stream_.socket().shutdown(tcp::socket::shutdown_send, error);
      return;
    }
    if (error == http::error::body_limit || error == http::error::header_limit) {
      Write({413, "text/plain; charset=utf-8", "the request is too large\n"}, false, false);
      return;
    }
    if (error) return;
    const auto& request = parser_->get();
    const bool is_head = request.method() == http::verb::head;
    if (request.method() != http::verb::get && !is_head) {
      Write({405, "text/plain; charset=utf-8", "only GET and HEAD\n"}, false, false);
      return;
    }
    Write(handler_(FromBeast(request)), is_head, request.keep_alive());
  }

  void Write(HttpResponse response, bool is_head, bool keep_alive) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(response.status));
    response_.set(http::field::server, "dstack/" + std::string(base::Version()));
    response_.set(http::field::content_type, response.content_type);
    response_.set("X-Content-Type-Options", "nosniff");
    if (response.status == 405) response_.set(http::field::allow, "GET, HEAD");
    response_.keep_alive(keep_alive);
    response_.content_length(response.body.size());
    if (!is_head) response_.body() = std::move(response.body);
    stream_.expires_after(kTimeout);
    http::async_write(
        stream_, response_, [self = shared_from_this()](beast::error_code error, std::size_t) {
          if (error) return;
          if (self->response_.keep_alive()) {
            self->Read();
          } else {
            self->stream_.socket().shutdown(tcp::socket::shutdown_send, error);
          }
        });
  }

  beast::tcp_stream stream_;
  const HttpHandler& handler_;
  std::atomic<std::size_t>& count_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

class HttpFront::State {
 public:
  State(HttpHandler handler, std::size_t max_connections)
      : handler_(std::move(handler)), max_connections_(max_connections), thread_([this] {
          exec::SetThreadName("http");
          context_.run();
        }) {}

  ~State() {
    context_.stop();
    thread_.join();
  }

  void Adopt(base::UniqueFd connection) {
    if (count_ >= max_connections_) return;
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (getsockname(connection.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
    tcp::socket socket(context_);
    boost::system::error_code error;
    socket.assign(address.ss_family == AF_INET ? tcp::v4() : tcp::v6(), connection.get(), error);
    if (error) return;
    connection.release();
    auto session = std::make_shared<Session>(std::move(socket), handler_, count_);
    asio::post(context_, [session] { session->Read(); });
  }

 private:
  HttpHandler handler_;
  const std::size_t max_connections_;
  std::atomic<std::size_t> count_{0};
  // After what its sessions refer to, so that they go first.
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ =
      asio::make_work_guard(context_);
  std::jthread thread_;
};

HttpFront::HttpFront(HttpHandler handler, std::size_t max_connections)
    : state_(std::make_unique<State>(std::move(handler), max_connections)) {}

HttpFront::~HttpFront() = default;

void HttpFront::Adopt(base::UniqueFd connection) { state_->Adopt(std::move(connection)); }

}  // namespace dstack::rpc
