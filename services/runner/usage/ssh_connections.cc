#include "services/runner/usage/ssh_connections.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include <absl/strings/str_split.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr int kEstablished = 1;  // TCP_ESTABLISHED, which no user header has beside linux/tcp.h
constexpr int kHex = 16;

// "0100007F:2726" or its longer form for version 6.
std::optional<std::uint16_t> PortOf(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  address.remove_prefix(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(address.data(), address.data() + address.size(), port, kHex);
  if (error != std::errc() || end != address.data() + address.size()) return std::nullopt;
  return port;
}

template <typename T>
std::optional<T> Attribute(const nlmsghdr* header, int wanted) {
  auto* data = static_cast<char*>(NLMSG_DATA(const_cast<nlmsghdr*>(header)));
  auto* attribute = reinterpret_cast<rtattr*>(data + NLMSG_ALIGN(sizeof(inet_diag_msg)));
  auto left = static_cast<int>(header->nlmsg_len - NLMSG_LENGTH(sizeof(inet_diag_msg)));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type != wanted) continue;
    // Older kernels send a shorter structure; what is missing is zero.
    T value{};
    std::memcpy(
        &value, RTA_DATA(attribute), std::min<std::size_t>(sizeof(value), RTA_PAYLOAD(attribute)));
    return value;
  }
  return std::nullopt;
}

void AddConnection(const nlmsghdr* header, std::uint16_t port, std::vector<SshConnection>* out) {
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return;
  const auto* message =
      static_cast<const inet_diag_msg*>(NLMSG_DATA(const_cast<nlmsghdr*>(header)));
  if (ntohs(message->id.idiag_sport) != port) return;
  const auto& to = message->id.idiag_dst;
  SshConnection connection;
  connection.peer = fmt::format("{:08x}{:08x}{:08x}{:08x}:{}",
                                ntohl(to[0]),
                                ntohl(to[1]),
                                ntohl(to[2]),
                                ntohl(to[3]),
                                ntohs(message->id.idiag_dport));
  if (const auto info = Attribute<tcp_info>(header, INET_DIAG_INFO)) {
    connection.received_bytes = info->tcpi_bytes_received;
    connection.sent_bytes = info->tcpi_bytes_acked;
  }
  out->push_back(std::move(connection));
}

bool AskKernel(int fd, std::uint8_t family) {
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } message{};
  message.header = {.nlmsg_len = sizeof(message),
                    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                    .nlmsg_seq = 0,
                    .nlmsg_pid = 0};
  message.request.sdiag_family = family;
  message.request.sdiag_protocol = IPPROTO_TCP;
  message.request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  message.request.idiag_states = 1 << kEstablished;
  return send(fd, &message, sizeof(message), 0) == static_cast<ssize_t>(sizeof(message));
}

// False when the kernel does not answer such questions.
bool ReadAnswer(int fd, std::uint16_t port, std::vector<SshConnection>* out) {
  alignas(nlmsghdr) std::array<char, 32 * 1024> buffer;
  while (true) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    auto left = static_cast<std::uint32_t>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return true;
      if (header->nlmsg_type == NLMSG_ERROR) return false;
      AddConnection(header, port, out);
    }
  }
}

std::optional<std::vector<SshConnection>> ListByNetlink(std::uint16_t port) {
  const base::UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) return std::nullopt;
  const timeval limit{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::vector<SshConnection> connections;
  for (const int family : {AF_INET, AF_INET6}) {
    if (!AskKernel(fd.get(), static_cast<std::uint8_t>(family)) ||
        !ReadAnswer(fd.get(), port, &connections)) {
      return std::nullopt;
    }
  }
  return connections;
}

void AddUp(const std::optional<std::uint64_t>& bytes, std::optional<std::uint64_t>* sum) {
  if (bytes) *sum = sum->value_or(0) + *bytes;
}

}  // namespace

std::vector<SshConnection> ParseNetTcp(std::string_view table, std::uint16_t port) {
  std::vector<SshConnection> connections;
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(table), '\n')) {
    // "sl local_address rem_address st ..."
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    constexpr std::size_t kWords = 4;
    if (words.size() < kWords || words[3] != "01" || PortOf(words[1]) != port) continue;
    connections.push_back({.peer = words[2], .received_bytes = {}, .sent_bytes = {}});
  }
  return connections;
}

std::vector<SshConnection> ListSshConnections(std::uint16_t port) {
  if (auto connections = ListByNetlink(port)) return *std::move(connections);
  std::vector<SshConnection> connections;
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    for (SshConnection& one : ParseNetTcp(base::ReadFile(path).value_or(""), port)) {
      connections.push_back(std::move(one));
    }
  }
  return connections;
}

SshInactivity::Reading SshInactivity::Update(base::MonotonicTime now,
                                             const std::vector<SshConnection>& connections) {
  Reading reading;
  std::map<std::string, base::MonotonicTime> since;
  for (const SshConnection& connection : connections) {
    const auto known = since_.find(connection.peer);
    const base::MonotonicTime start = known == since_.end() ? now : known->second;
    since.emplace(connection.peer, start);
    if (now - start >= kYoung) ++reading.open;
    AddUp(connection.received_bytes, &reading.received_bytes);
    AddUp(connection.sent_bytes, &reading.sent_bytes);
  }
  since_ = std::move(since);
  if (reading.open > 0 || !last_active_) last_active_ = now;
  reading.inactive = now - *last_active_;
  return reading;
}

}  // namespace dstack::runner
