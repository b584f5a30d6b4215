#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/db/statement.h"

namespace dstack::db {

struct PoolOptions {
  // libpq connection string or URL. Keepalive and connect timeouts are added where it has none.
  std::string conninfo;
  std::size_t max_connections = 8;
};

// Connections to one database, opened when they are first needed. Sessions carry no state (no SET,
// no LISTEN, no advisory lock; prepared statements only where Connection::can_prepare), so
// PgBouncer in transaction mode may sit in between. Thread-safe; leases must be given back before
// the pool goes.
class Pool {
 public:
  explicit Pool(const PoolOptions& options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A connection for one thread. Goes back to the pool at the end of its life, unless it is broken.
  // A statement that still runs at the deadline is cancelled on the server, so that whoever waits
  // for it gets DEADLINE_EXCEEDED.
  class Lease {
   public:
    Lease(Lease&&) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    Connection& connection() { return *connection_; }
    // The connection is closed instead of going back.
    void MarkBroken() { is_broken_ = true; }

   private:
    friend class Pool;
    Lease(Pool& pool, std::unique_ptr<Connection> connection, base::MonotonicTime deadline);

    Pool* pool_;
    std::unique_ptr<Connection> connection_;
    bool is_broken_ = false;
  };

  // Waits for a free connection. DEADLINE_EXCEEDED when there is none in time,
  // UNAVAILABLE/DATABASE_UNAVAILABLE when the server cannot be reached.
  absl::StatusOr<Lease> Acquire(base::MonotonicTime deadline);

  // Closes idle connections. Those in use go as they come back.
  void CloseIdle();

  const std::string& conninfo() const { return options_.conninfo; }

 private:
  struct Watch {
    base::MonotonicTime deadline;
    Connection* connection;
    auto operator<=>(const Watch&) const = default;
  };

  void StartWatch(Connection& connection, base::MonotonicTime deadline);
  void Return(std::unique_ptr<Connection> connection, bool is_broken);
  void CancelLate();

  const PoolOptions options_;
  base::Mutex mutex_;
  base::CondVar freed_;
  base::CondVar watched_;
  std::vector<std::unique_ptr<Connection>> idle_ GUARDED_BY(mutex_);
  std::size_t open_ GUARDED_BY(mutex_) = 0;
  std::set<Watch> watches_ GUARDED_BY(mutex_);
  // Leased connections that were sent a cancel request. They are not used again: the request may
  // still be on its way and must not hit a statement of somebody else.
  std::set<Connection*> cancelled_ GUARDED_BY(mutex_);
  // When the canceller looks next. It is not woken for deadlines after that.
  base::MonotonicTime wakes_at_ GUARDED_BY(mutex_) = base::kNoDeadline;
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  std::jthread canceller_;
};

// Adds client-side time limits to a libpq connection string or URL: a dead network path is noticed
// in about 15 s instead of hours.
std::string WithTimeouts(const std::string& conninfo);

}  // namespace dstack::db
