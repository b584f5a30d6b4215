#pragma once

#include <chrono>
#include <thread>
#include <type_traits>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <pqxx/pqxx>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/db/errors.h"
#include "libs/db/pool.h"

namespace dstack::db {

// Latest time at which a database operation may end.
inline base::MonotonicTime Within(base::Duration timeout) { return base::DeadlineIn(timeout); }

// How often a transaction is run at most.
inline constexpr int kMaxAttempts = 6;

namespace internal {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Delay before attempt `attempt` + 1. Deadlocks and serialization failures need none to speak of;
// a server that restarts needs a moment.
inline std::chrono::milliseconds PauseAfter(int attempt, Recovery recovery) {
  if (recovery == Recovery::kRetry || attempt == 0) return std::chrono::milliseconds(attempt);
  return std::chrono::milliseconds(20 << attempt);
}

// What the transaction has announced. A failure loses hints, not data.
inline void SendNotifications(Pool::Lease& lease) {
  try {
    lease.connection().SendNotifications();
  } catch (const std::exception&) {
    lease.MarkBroken();
  }
}

// One attempt. An exception of `fn` or of COMMIT becomes `failure`.
template <typename Result, typename Fn>
Result RunOnce(Pool::Lease& lease, Fn& fn, Failure& failure, bool& is_committed) {
  lease.connection().notifications().clear();
  try {
    pqxx::work tx(lease.connection());
    Result result = fn(tx);
    if (!StatusOf(result).ok()) {
      tx.abort();
      return result;
    }
    tx.commit();
    is_committed = true;
    return result;
  } catch (...) {
    failure = ClassifyCurrentException();
    if (failure.recovery != Recovery::kRetry) lease.MarkBroken();
    return failure.status;
  }
}

}  // namespace internal

// Runs `fn(pqxx::work&)`, which returns absl::Status or absl::StatusOr<T>, in a READ COMMITTED
// transaction: committed when it returns OK, rolled back otherwise. `fn` runs again after a
// serialization failure, a deadlock or a lost connection, a bounded number of times and only while
// nothing can have been committed; it must have no effect outside the transaction. No exception
// leaves. What NotifyAfterCommit has collected is sent after the COMMIT. Errors: see
// ClassifyCurrentException; a connection that breaks during COMMIT is ABORTED, and the request id
// of the write makes a retry by the caller safe.
template <typename Fn>
std::invoke_result_t<Fn&, pqxx::work&> InTransaction(Pool& pool,
                                                     base::MonotonicTime deadline,
                                                     Fn&& fn) {
  using Result = std::invoke_result_t<Fn&, pqxx::work&>;
  for (int attempt = 0;; ++attempt) {
    Failure failure;
    {
      auto lease = pool.Acquire(deadline);
      if (lease.ok()) {
        bool is_committed = false;
        Result result = internal::RunOnce<Result>(*lease, fn, failure, is_committed);
        if (is_committed) internal::SendNotifications(*lease);
        if (failure.status.ok()) return result;
      } else {
        const bool is_down = lease.status().code() == absl::StatusCode::kUnavailable;
        failure = {lease.status(), is_down ? Recovery::kReconnect : Recovery::kNone};
      }
    }
    const auto pause = internal::PauseAfter(attempt, failure.recovery);
    if (failure.recovery == Recovery::kNone || attempt + 1 >= kMaxAttempts ||
        std::chrono::steady_clock::now() + pause >= deadline) {
      return failure.status;
    }
    // A restart of the server breaks all idle connections at once: do not try them one by one.
    if (failure.recovery == Recovery::kReconnect) pool.CloseIdle();
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace dstack::db
