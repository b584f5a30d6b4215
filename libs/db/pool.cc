#include "libs/db/pool.h"

#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/db/errors.h"

namespace dstack::db {
namespace {

bool IsUrl(std::string_view conninfo) {
  return conninfo.starts_with("postgres://") || conninfo.starts_with("postgresql://");
}

absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& conninfo) {
  try {
    return std::make_unique<Connection>(conninfo);
  } catch (...) {
    return ClassifyCurrentException().status;
  }
}

}  // namespace

std::string WithTimeouts(const std::string& conninfo) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kSettings = {{
      {"connect_timeout", "5"},
      {"keepalives_idle", "5"},
      {"keepalives_interval", "5"},
      {"keepalives_count", "2"},
      {"tcp_user_timeout", "15000"},
  }};
  std::string out = conninfo;
  const bool is_url = IsUrl(conninfo);
  for (const auto& [name, value] : kSettings) {
    if (conninfo.find(fmt::format("{}=", name)) != std::string::npos) continue;
    if (is_url) {
      out += fmt::format("{}{}={}", out.find('?') == std::string::npos ? '?' : '&', name, value);
    } else {
      out += fmt::format(" {}={}", name, value);
    }
  }
  return out;
}

Pool::Pool(const PoolOptions& options)
    : options_{WithTimeouts(options.conninfo), options.max_connections},
      canceller_([this] { CancelLate(); }) {}

Pool::~Pool() {
  {
    base::MutexLock lock(mutex_);
    is_stopping_ = true;
    watched_.NotifyAll();
  }
  canceller_ = {};
}

absl::StatusOr<Pool::Lease> Pool::Acquire(base::MonotonicTime deadline) {
  std::unique_ptr<Connection> connection;
  {
    base::MutexLock lock(mutex_);
    while (idle_.empty() && open_ >= options_.max_connections) {
      if (!freed_.WaitUntil(mutex_, deadline) && idle_.empty() &&
          open_ >= options_.max_connections) {
        return base::Error(
            absl::StatusCode::kDeadlineExceeded,
            "DATABASE_UNAVAILABLE",
            fmt::format("all {} database connections are in use", options_.max_connections));
      }
    }
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
    } else {
      ++open_;
    }
  }
  if (connection == nullptr) {
    auto opened = Connect(options_.conninfo);
    if (!opened.ok()) {
      base::MutexLock lock(mutex_);
      --open_;
      freed_.NotifyOne();
      return opened.status();
    }
    connection = *std::move(opened);
  }
  return Lease(*this, std::move(connection), deadline);
}

void Pool::CloseIdle() {
  std::vector<std::unique_ptr<Connection>> closing;
  base::MutexLock lock(mutex_);
  open_ -= idle_.size();
  closing.swap(idle_);
}

void Pool::StartWatch(Connection& connection, base::MonotonicTime deadline) {
  base::MutexLock lock(mutex_);
  watches_.insert({deadline, &connection});
  if (deadline < wakes_at_) watched_.NotifyOne();
}

void Pool::Return(std::unique_ptr<Connection> connection, bool is_broken) {
  {
    base::MutexLock lock(mutex_);
    std::erase_if(watches_,
                  [&](const Watch& watch) { return watch.connection == connection.get(); });
    if (cancelled_.erase(connection.get()) > 0 || is_broken) {
      --open_;
    } else {
      idle_.push_back(std::move(connection));
    }
    freed_.NotifyOne();
  }
  // A connection that is not kept is closed here, outside the lock.
}

void Pool::CancelLate() {
  constexpr auto kCancelAgainAfter = std::chrono::milliseconds(100);
  base::MutexLock lock(mutex_);
  while (!is_stopping_) {
    wakes_at_ = watches_.empty() ? base::kNoDeadline : watches_.begin()->deadline;
    if (std::chrono::steady_clock::now() < wakes_at_) {
      watched_.WaitUntil(mutex_, wakes_at_);
      continue;
    }
    // Again and again until the lease ends: a request that comes between two statements of the
    // transaction has no effect.
    Watch late = *watches_.begin();
    watches_.erase(watches_.begin());
    watches_.insert({late.deadline + kCancelAgainAfter, late.connection});
    cancelled_.insert(late.connection);
    // Under the lock, so that the lease cannot end and the connection stays alive. It is one short
    // exchange with the server.
    try {
      late.connection->cancel_query();
    } catch (const std::exception&) {
      // The server is not there; the statement fails by itself.
    }
  }
}

Pool::Lease::Lease(Pool& pool, std::unique_ptr<Connection> connection, base::MonotonicTime deadline)
    : pool_(&pool), connection_(std::move(connection)) {
  pool_->StartWatch(*connection_, deadline);
}

Pool::Lease::Lease(Lease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      connection_(std::move(other.connection_)),
      is_broken_(other.is_broken_) {}

Pool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  // Before the move: arguments are evaluated in any order.
  const bool is_broken = is_broken_ || !connection_->is_open();
  pool_->Return(std::move(connection_), is_broken);
}

}  // namespace dstack::db
