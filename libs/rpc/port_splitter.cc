#include "libs/rpc/port_splitter.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <unordered_map>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "libs/base/status.h"
#include "libs/exec/thread_pool.h"
#include "libs/telemetry/log.h"

namespace dstack::rpc {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0";
constexpr std::size_t kDecidingBytes = 4;  // "PRI ": no HTTP/1 method begins like this
constexpr unsigned char kTlsHandshake = 0x16;
constexpr std::size_t kMaxSilent = 1024;
constexpr std::chrono::seconds kMaxSilence{10};
constexpr int kBacklog = 1024;

struct AddressInfo {
  addrinfo* list = nullptr;
  ~AddressInfo() {
    if (list != nullptr) freeaddrinfo(list);
  }
};

bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
}

std::uint16_t PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

std::string Printable(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    inet_ntop(
        AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), PortOf(address));
  }
  inet_ntop(AF_INET6,
            &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr,
            text.data(),
            text.size());
  return fmt::format("[{}]:{}", text.data(), PortOf(address));
}

absl::Status BindError(int error_number, const std::string& host, std::uint16_t port) {
  if (error_number == EADDRINUSE) {
    return base::Error(
        absl::StatusCode::kAlreadyExists,
        "NAME_TAKEN",
        fmt::format("cannot listen on {} port {}: another program uses it", host, port));
  }
  if (error_number == EADDRNOTAVAIL) {
    return base::Invalid(
        fmt::format("cannot listen on '{}': it is no address of this machine", host));
  }
  return base::ErrnoError(error_number, fmt::format("listening on {} port {}", host, port));
}

absl::StatusOr<ListenSocket> ListenOn(const addrinfo& candidate,
                                      const std::string& host,
                                      std::uint16_t port) {
  base::UniqueFd fd(socket(candidate.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::ErrnoError(errno, "socket");
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), candidate.ai_addr, candidate.ai_addrlen) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return BindError(errno, host, port);
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    return base::ErrnoError(errno, "getsockname");
  }
  ListenSocket result;
  result.fd = std::move(fd);
  result.port = PortOf(bound);
  result.is_loopback = IsLoopback(candidate.ai_addr);
  result.address = Printable(bound);
  return result;
}

}  // namespace

WireProtocol Sniff(std::string_view first_bytes) {
  if (first_bytes.empty()) return WireProtocol::kUnknown;
  if (static_cast<unsigned char>(first_bytes[0]) == kTlsHandshake) return WireProtocol::kTls;
  const std::string_view head = first_bytes.substr(0, kHttp2Preface.size());
  if (head != kHttp2Preface.substr(0, head.size())) return WireProtocol::kHttp1;
  return head.size() < kDecidingBytes ? WireProtocol::kUnknown : WireProtocol::kHttp2;
}

absl::StatusOr<ListenSocket> Listen(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  AddressInfo found;
  const std::string service = std::to_string(port);
  const int error = getaddrinfo(host.c_str(), service.c_str(), &hints, &found.list);
  if (error != 0 || found.list == nullptr) {
    return base::Invalid(fmt::format("cannot listen on '{}': {}", host, gai_strerror(error)));
  }
  return ListenOn(*found.list, host, port);
}

// All state belongs to the splitter's thread; only `stop_` is used from outside.
class PortSplitter::Loop {
 public:
  Loop(base::UniqueFd listener, Sink sink)
      : listener_(std::move(listener)),
        sink_(std::move(sink)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    Watch(listener_.get(), EPOLLIN);
    Watch(stop_.get(), EPOLLIN);
  }

  void Stop() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(stop_.get(), &one, sizeof one);
  }

  void Run() {
    std::array<epoll_event, 64> events{};
    while (true) {
      const int count =
          epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitMs());
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == stop_.get()) return;
        if (fd == listener_.get()) {
          Accept();
        } else {
          Look(fd);
        }
      }
      DropSilent();
    }
  }

 private:
  struct Silent {
    base::UniqueFd fd;
    std::chrono::steady_clock::time_point give_up_at;
  };
  using SilentList = std::list<Silent>;

  void Watch(int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  // Silent connections are in the order of their deadlines.
  int WaitMs() const {
    if (is_paused_) return 100;
    if (silent_.empty()) return -1;
    const auto left = silent_.front().give_up_at - std::chrono::steady_clock::now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return ms < 0 ? 0 : static_cast<int>(ms);
  }

  void Accept() {
    while (true) {
      base::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) {
        if (errno == EMFILE || errno == ENFILE) Pause();
        return;
      }
      const int on = 1;
      setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      Admit(std::move(fd));
    }
  }

  // Out of descriptors: the listener stays readable, and looking at it again at once would only
  // burn the processor.
  void Pause() {
    telemetry::Warn("no descriptor left for a new connection");
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
    is_paused_ = true;
  }

  void Admit(base::UniqueFd fd) {
    if (silent_.size() >= kMaxSilent) Forget(silent_.begin());
    const int raw = fd.get();
    silent_.push_back({std::move(fd), std::chrono::steady_clock::now() + kMaxSilence});
    by_fd_[raw] = std::prev(silent_.end());
    // Edge-triggered: a part of the preface must not wake the loop again until more has come.
    Watch(raw, EPOLLIN | EPOLLRDHUP | EPOLLET);
  }

  void Look(int fd) {
    const auto found = by_fd_.find(fd);
    if (found == by_fd_.end()) return;
    std::array<char, 16> head{};
    const ssize_t count = recv(fd, head.data(), head.size(), MSG_PEEK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      Forget(found->second);
      return;
    }
    const WireProtocol protocol = Sniff({head.data(), static_cast<std::size_t>(count)});
    if (protocol == WireProtocol::kUnknown) return;
    base::UniqueFd connection = std::move(found->second->fd);
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    silent_.erase(found->second);
    by_fd_.erase(found);
    sink_(protocol, std::move(connection));
  }

  void Forget(SilentList::iterator silent) {
    by_fd_.erase(silent->fd.get());
    silent_.erase(silent);
  }

  void DropSilent() {
    const auto now = std::chrono::steady_clock::now();
    while (!silent_.empty() && silent_.front().give_up_at <= now) Forget(silent_.begin());
    if (is_paused_) {
      is_paused_ = false;
      Watch(listener_.get(), EPOLLIN);
    }
  }

  base::UniqueFd listener_;
  Sink sink_;
  base::UniqueFd epoll_;
  base::UniqueFd stop_;
  SilentList silent_;
  std::unordered_map<int, SilentList::iterator> by_fd_;
  bool is_paused_ = false;
};

PortSplitter::PortSplitter(base::UniqueFd listener, Sink sink)
    : loop_(std::make_unique<Loop>(std::move(listener), std::move(sink))), thread_([this] {
        exec::SetThreadName("accept");
        loop_->Run();
      }) {}

PortSplitter::~PortSplitter() {
  loop_->Stop();
  thread_.join();
}

}  // namespace dstack::rpc
