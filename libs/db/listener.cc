#include "libs/db/listener.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/db/pool.h"
#include "libs/telemetry/log.h"

namespace dstack::db {
namespace {

constexpr int kFirstPauseMs = 20;
constexpr int kMaxPauseMs = 2000;
constexpr int kConnectTimeoutMs = 5000;
// A server that has gone without a word is noticed by the kernel's keepalive (WithTimeouts), which
// makes the socket readable.
constexpr int kForever = -1;

struct ResultCleaner {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ResultCleaner>;

struct NotifyCleaner {
  void operator()(PGnotify* notify) const { PQfreemem(notify); }
};
using NotifyPtr = std::unique_ptr<PGnotify, NotifyCleaner>;

}  // namespace

struct Listener::Connection {
  explicit Connection(PGconn* connection) : pg(connection) {}
  ~Connection() { PQfinish(pg); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  PGconn* pg;
};

Listener::Listener(Options options)
    : options_(std::move(options)), stop_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::jthread([this] { Run(); });
}

Listener::~Listener() {
  const std::uint64_t one = 1;
  // An eventfd takes the write unless its counter is full, and then it is readable anyway.
  [[maybe_unused]] const auto written = write(stop_event_.get(), &one, sizeof(one));
  thread_.join();
}

// Waits for what PQconnectPoll asks for; false when it is time to stop or the server is silent.
bool Listener::AwaitSocket(int socket, bool is_reading) {
  const short events = is_reading ? POLLIN : POLLOUT;
  std::array<pollfd, 2> fds = {{{socket, events, 0}, {stop_event_.get(), POLLIN, 0}}};
  return poll(fds.data(), fds.size(), kConnectTimeoutMs) > 0 && fds[1].revents == 0;
}

std::unique_ptr<Listener::Connection> Listener::Open() {
  // Not PQconnectdb: the end of the listener must not wait for a server that does not answer.
  auto connection =
      std::make_unique<Connection>(PQconnectStart(WithTimeouts(options_.conninfo).c_str()));
  if (PQstatus(connection->pg) == CONNECTION_BAD) return nullptr;
  PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
  while (wanted != PGRES_POLLING_OK) {
    if (!AwaitSocket(PQsocket(connection->pg), wanted == PGRES_POLLING_READING)) return nullptr;
    wanted = PQconnectPoll(connection->pg);
    if (wanted == PGRES_POLLING_FAILED) return nullptr;
  }
  for (const std::string& channel : options_.channels) {
    const ResultPtr result(PQexec(connection->pg, fmt::format("LISTEN {}", channel).c_str()));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) return nullptr;
  }
  return connection;
}

void Listener::Run() {
  int pause_ms = kFirstPauseMs;
  bool was_up = true;
  for (;;) {
    if (const auto connection = Open()) {
      if (!was_up) telemetry::Info("database notifications work again");
      was_up = true;
      pause_ms = kFirstPauseMs;
      options_.on_connect();
      Pump(*connection);
    }
    if (!PauseFor(pause_ms)) return;
    if (std::exchange(was_up, false)) {
      telemetry::Warn("connection for database notifications lost, trying again");
    }
    pause_ms = std::min(pause_ms * 2, kMaxPauseMs);
  }
}

void Listener::Pump(Connection& connection) {
  for (;;) {
    while (const NotifyPtr notify{PQnotifies(connection.pg)}) {
      options_.on_notify(notify->relname, notify->extra);
    }
    std::array<pollfd, 2> fds = {
        {{PQsocket(connection.pg), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), kForever) < 0) continue;
    if (fds[1].revents != 0) return;
    if (PQconsumeInput(connection.pg) == 0) return;
  }
}

bool Listener::PauseFor(int timeout_ms) {
  pollfd fd = {stop_event_.get(), POLLIN, 0};
  return poll(&fd, 1, timeout_ms) == 0;
}

}  // namespace dstack::db
