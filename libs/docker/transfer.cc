#include "libs/docker/transfer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::docker {
namespace {

namespace http = boost::beast::http;

constexpr std::size_t kMaxBodyBytes = std::size_t{32} << 20;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
// A Unix socket refuses connections while its listener's queue is full.
constexpr std::chrono::milliseconds kConnectPause{5};
constexpr std::chrono::seconds kConnectTimeout{5};

std::string_view MethodName(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kPost:
      return "POST";
    case Method::kDelete:
      return "DELETE";
  }
  return "GET";
}

}  // namespace

// Takes the answer apart. Only the status code and the body matter here.
class Transfer::Parser final : public http::basic_parser<false> {
 public:
  using ErrorCode = boost::beast::error_code;

  explicit Parser(const HttpRequest& request) : request_(request) {
    eager(true);
    body_limit(boost::none);
  }

  HttpResponse TakeResponse() { return {.status_code = code_, .body = std::move(body_)}; }
  bool is_too_large() const { return is_too_large_; }

 private:
  using StringView = boost::beast::string_view;

  void on_request_impl(http::verb, StringView, StringView, int, ErrorCode&) override {}
  void on_response_impl(int code, StringView, int, ErrorCode&) override { code_ = code; }
  void on_field_impl(http::field, StringView, StringView, ErrorCode&) override {}
  void on_header_impl(ErrorCode&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(StringView data, ErrorCode& error) override {
    return Take(data, &error);
  }
  void on_chunk_header_impl(std::uint64_t, StringView, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, StringView data, ErrorCode& error) override {
    return Take(data, &error);
  }
  void on_finish_impl(ErrorCode&) override {}

  std::size_t Take(StringView data, ErrorCode* error) {
    if (request_.on_data && code_ < 300) {
      request_.on_data({data.data(), data.size()});
    } else if (body_.size() + data.size() > kMaxBodyBytes) {
      is_too_large_ = true;
      *error = http::error::body_limit;
    } else {
      body_.append(data.data(), data.size());
    }
    return data.size();
  }

  const HttpRequest& request_;
  int code_ = 0;
  std::string body_;
  bool is_too_large_ = false;
};

Transfer::Transfer(Endpoint endpoint, HttpRequest request)
    : endpoint_(std::move(endpoint)),
      request_(std::move(request)),
      head_(MakeHead()),
      parser_(std::make_unique<Parser>(request_)) {}

Transfer::~Transfer() = default;

std::string Transfer::MakeHead() const {
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n",
                                 MethodName(request_.method),
                                 request_.path);
  for (const std::string& line : request_.headers) head += line + "\r\n";
  if (request_.method == Method::kPost) {
    head += fmt::format("Content-Length: {}\r\n", request_.body.size());
    if (!request_.body.empty()) head += fmt::format("Content-Type: {}\r\n", request_.content_type);
  }
  return head + "\r\n";
}

short Transfer::events() const { return phase_ == Phase::kReading ? POLLIN : POLLIN | POLLOUT; }

Transfer::TimePoint Transfer::deadline() const {
  TimePoint deadline = TimePoint::max();
  if (request_.timeout) deadline = start_ + *request_.timeout;
  if (request_.idle_timeout) deadline = std::min(deadline, last_data_ + *request_.idle_timeout);
  if (phase_ == Phase::kConnecting) {
    const TimePoint next = std::chrono::steady_clock::now() + kConnectPause;
    // A TCP connection reports by itself; a full Unix listener does not.
    deadline = std::min(deadline, fd_ ? start_ + kConnectTimeout : next);
  }
  return deadline;
}

absl::Status Transfer::CheckTime() const {
  const TimePoint now = std::chrono::steady_clock::now();
  const bool is_late = request_.timeout && now >= start_ + *request_.timeout;
  const bool cannot_connect = phase_ == Phase::kConnecting && now >= start_ + kConnectTimeout;
  if (is_late || cannot_connect) {
    return absl::DeadlineExceededError(
        fmt::format("no answer of the engine at {} in time", endpoint_.ToString()));
  }
  if (request_.idle_timeout && now >= last_data_ + *request_.idle_timeout) {
    const auto silence = std::chrono::duration_cast<std::chrono::seconds>(*request_.idle_timeout);
    return absl::DeadlineExceededError(
        fmt::format("the engine was silent for {} s", silence.count()));
  }
  return absl::OkStatus();
}

std::optional<absl::StatusOr<HttpResponse>> Transfer::Advance() {
  if (absl::Status status = CheckTime(); !status.ok()) return status;
  if (phase_ == Phase::kConnecting) {
    if (absl::Status status = Connect(); !status.ok()) return status;
  }
  if (phase_ == Phase::kSending) {
    if (absl::Status status = Send(); !status.ok()) return status;
  }
  if (phase_ != Phase::kReading) return std::nullopt;
  const absl::StatusOr<bool> is_complete = Receive();
  if (!is_complete.ok()) return is_complete.status();
  if (!*is_complete) return std::nullopt;
  return parser_->TakeResponse();
}

absl::Status Transfer::Connect() {
  const auto fail = [&](int error) {
    return absl::UnavailableError(fmt::format(
        "engine at {}: {}", endpoint_.ToString(), std::generic_category().message(error)));
  };
  if (fd_) {
    pollfd polled{.fd = fd_.get(), .events = POLLOUT};
    if (::poll(&polled, 1, 0) <= 0) return absl::OkStatus();
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail(error);
    phase_ = Phase::kSending;
    return absl::OkStatus();
  }
  const bool is_unix = !endpoint_.socket_path.empty();
  sockaddr_un unix_address{.sun_family = AF_UNIX};
  sockaddr_in tcp_address{.sin_family = AF_INET, .sin_port = htons(endpoint_.port)};
  if (endpoint_.socket_path.size() >= sizeof(unix_address.sun_path)) return fail(ENAMETOOLONG);
  std::memcpy(unix_address.sun_path, endpoint_.socket_path.data(), endpoint_.socket_path.size());
  ::inet_pton(AF_INET, endpoint_.address.c_str(), &tcp_address.sin_addr);
  base::UniqueFd fd(
      ::socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(errno);
  const int result =
      is_unix
          ? ::connect(fd.get(), reinterpret_cast<sockaddr*>(&unix_address), sizeof(unix_address))
          : ::connect(fd.get(), reinterpret_cast<sockaddr*>(&tcp_address), sizeof(tcp_address));
  if (result == 0) {
    fd_ = std::move(fd);
    phase_ = Phase::kSending;
  } else if (errno == EINPROGRESS) {
    fd_ = std::move(fd);
  } else if (errno != EAGAIN) {
    return fail(errno);
  }
  return absl::OkStatus();
}

absl::Status Transfer::Send() {
  const std::string* parts[] = {&head_, &request_.body};
  while (true) {
    const bool is_head = sent_ < head_.size();
    const std::string& part = *parts[is_head ? 0 : 1];
    const std::size_t offset = is_head ? sent_ : sent_ - head_.size();
    if (!is_head && offset >= part.size()) break;
    const ssize_t count =
        ::send(fd_.get(), part.data() + offset, part.size() - offset, MSG_NOSIGNAL);
    if (count >= 0) {
      sent_ += static_cast<std::size_t>(count);
      last_data_ = std::chrono::steady_clock::now();
    } else if (errno == EAGAIN) {
      return absl::OkStatus();
    } else if (errno == EPIPE || errno == ECONNRESET) {
      // It has answered before the end of the request, or it is gone: reading will tell.
      break;
    } else if (errno != EINTR) {
      return absl::UnavailableError(fmt::format(
          "engine at {}: {}", endpoint_.ToString(), std::generic_category().message(errno)));
    }
  }
  phase_ = Phase::kReading;
  return absl::OkStatus();
}

absl::StatusOr<bool> Transfer::Receive() {
  std::array<char, kReadBytes> buffer;
  while (true) {
    const ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return false;
    if (count <= 0) {
      // An answer without a length ends here; any other one is cut off.
      Parser::ErrorCode error;
      if (count == 0 && parser_->got_some()) parser_->put_eof(error);
      if (count == 0 && !error && parser_->is_done()) return true;
      return absl::UnavailableError(
          fmt::format("engine at {}: the connection was cut", endpoint_.ToString()));
    }
    last_data_ = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const bool is_complete,
                     Parse({buffer.data(), static_cast<std::size_t>(count)}));
    if (is_complete) return true;
  }
}

absl::StatusOr<bool> Transfer::Parse(std::string_view data) {
  pending_.append(data);
  while (!pending_.empty() && !parser_->is_done()) {
    Parser::ErrorCode error;
    const std::size_t used =
        parser_->put(boost::asio::buffer(pending_.data(), pending_.size()), error);
    pending_.erase(0, used);
    if (error == http::error::need_more) return false;
    if (parser_->is_too_large()) {
      return absl::ResourceExhaustedError(
          fmt::format("the engine's answer is longer than {} bytes", kMaxBodyBytes));
    }
    if (error) {
      return absl::UnavailableError(
          fmt::format("engine at {}: {}", endpoint_.ToString(), error.message()));
    }
    if (used == 0) return false;
  }
  return parser_->is_done();
}

}  // namespace dstack::docker
