#include "tests/component/runner_agent/slow_relay.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <poll.h>
#include <unistd.h>

#include "libs/net/unix_socket.h"

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

// At most `limit` bytes; false at the end of `from`, or when `to` does not take them.
bool Copy(int from, int to, std::size_t limit) {
  std::array<char, 64 << 10> buffer;
  const ssize_t got = read(from, buffer.data(), std::min(limit, buffer.size()));
  return got > 0 &&
         base::WriteAll(to, std::string_view(buffer.data(), static_cast<std::size_t>(got))).ok();
}

bool IsReadable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&entry, 1, 0) > 0;
}

}  // namespace

SlowRelay::SlowRelay(std::string socket_path) : socket_path_(std::move(socket_path)) {
  auto listener = net::ListenUnix(Path());
  REQUIRE(listener.ok());
  listener_ = *std::move(listener);
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) Run();
  });
}

SlowRelay::~SlowRelay() {
  thread_.request_stop();
  thread_.join();
}

void SlowRelay::AddLine() {
  auto server = net::Accept(listener_.get());
  auto runner = net::ConnectUnix(socket_path_);
  if (server.ok() && runner.ok()) lines_.push_back({*std::move(server), *std::move(runner)});
}

bool SlowRelay::Move(const Line& line, bool may_take_slow_byte) {
  if (IsReadable(line.server.get()) && !Copy(line.server.get(), line.runner.get(), 64 << 10)) {
    return false;
  }
  if (!IsReadable(line.runner.get())) return true;
  if (!is_slow_) return Copy(line.runner.get(), line.server.get(), 64 << 10);
  if (!may_take_slow_byte) return true;
  ++slow_bytes_;
  return Copy(line.runner.get(), line.server.get(), 1);
}

// A round: waits for something to do, but not for longer than until the next slow byte is due.
void SlowRelay::Run() {
  static constexpr auto kSlowInterval = 1s;
  const auto now = std::chrono::steady_clock::now();
  std::vector<pollfd> entries = {{.fd = listener_.get(), .events = POLLIN, .revents = 0}};
  for (const Line& line : lines_) {
    entries.push_back({.fd = line.server.get(), .events = POLLIN, .revents = 0});
    // One that waits for its next second is not looked at.
    if (!is_slow_) entries.push_back({.fd = line.runner.get(), .events = POLLIN, .revents = 0});
  }
  poll(entries.data(), entries.size(), 50);
  if ((entries[0].revents & POLLIN) != 0) AddLine();
  const bool is_due = is_slow_ && now >= next_slow_byte_;
  if (is_due) next_slow_byte_ = now + kSlowInterval;
  lines_.remove_if([&](const Line& line) { return !Move(line, is_due); });
}

}  // namespace dstack::runner
