#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace dstack::exec {

// A queue between threads with an upper bound. The bound counts items, or whatever `weigh` returns
// (for example bytes). An item heavier than the whole bound is taken when the queue is empty, so
// that it cannot block for ever. Thread-safe.
template <typename T>
class BoundedQueue {
 public:
  using Weigh = std::function<std::size_t(const T&)>;

  explicit BoundedQueue(std::size_t capacity, Weigh weigh = nullptr)
      : capacity_(capacity), weigh_(std::move(weigh)) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Waits for room. DEADLINE_EXCEEDED when there was none in time, CANCELLED when the queue is
  // closed; the item is lost then.
  absl::Status Push(T item, base::MonotonicTime deadline = base::kNoDeadline) {
    const std::size_t weight = WeightOf(item);
    base::MutexLock lock(mutex_);
    while (!closed_ && !Fits(weight)) {
      if (!changed_.WaitUntil(mutex_, deadline) && !closed_ && !Fits(weight)) {
        return absl::DeadlineExceededError("the queue stayed full");
      }
    }
    if (closed_) return absl::CancelledError("the queue is closed");
    Add(std::move(item), weight);
    return absl::OkStatus();
  }

  // False when the queue is full or closed; the item is untouched then.
  bool TryPush(T& item) {
    const std::size_t weight = WeightOf(item);
    base::MutexLock lock(mutex_);
    if (closed_ || !Fits(weight)) return false;
    Add(std::move(item), weight);  // NOLINT(clang-analyzer-cplusplus.Move)
    return true;
  }
  bool TryPush(T&& item) { return TryPush(item); }

  // Waits for an item. DEADLINE_EXCEEDED when none came in time, CANCELLED when the queue is closed
  // and empty: what was pushed before Close() still comes out.
  absl::StatusOr<T> Pop(base::MonotonicTime deadline = base::kNoDeadline) {
    base::MutexLock lock(mutex_);
    while (items_.empty()) {
      if (closed_) return absl::CancelledError("the queue is closed");
      if (!changed_.WaitUntil(mutex_, deadline) && items_.empty() && !closed_) {
        return absl::DeadlineExceededError("the queue stayed empty");
      }
    }
    return Take();
  }

  std::optional<T> TryPop() {
    base::MutexLock lock(mutex_);
    if (items_.empty()) return std::nullopt;
    return Take();
  }

  // No more pushes; wakes everybody. Idempotent.
  void Close() {
    base::MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }

  std::size_t size() const {
    base::MutexLock lock(mutex_);
    return items_.size();
  }
  // Sum of the weights.
  std::size_t weight() const {
    base::MutexLock lock(mutex_);
    return weight_;
  }
  bool closed() const {
    base::MutexLock lock(mutex_);
    return closed_;
  }

 private:
  struct Entry {
    T item;
    std::size_t weight;
  };

  std::size_t WeightOf(const T& item) const { return weigh_ ? weigh_(item) : 1; }

  bool Fits(std::size_t weight) const REQUIRES(mutex_) {
    return items_.empty() || (weight_ <= capacity_ && weight <= capacity_ - weight_);
  }

  void Add(T item, std::size_t weight) REQUIRES(mutex_) {
    items_.push_back({std::move(item), weight});
    weight_ += weight;
    changed_.NotifyAll();
  }

  T Take() REQUIRES(mutex_) {
    Entry entry = std::move(items_.front());
    items_.pop_front();
    weight_ -= entry.weight;
    changed_.NotifyAll();
    return std::move(entry.item);
  }

  const std::size_t capacity_;
  const Weigh weigh_;
  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::deque<Entry> items_ GUARDED_BY(mutex_);
  std::size_t weight_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace dstack::exec
