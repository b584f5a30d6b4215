#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "libs/base/mutex.h"

namespace dstack::server {

// The server streams that are open now, so that a stop of the server can end them with a clear
// word. Thread-safe.
class OpenStreams {
 public:
  using End = std::function<void(const absl::Status& status)>;

  // Remembers how to end a stream; calls `end` at once when the server is stopping.
  std::uint64_t Add(End end) {
    absl::Status status;
    {
      base::MutexLock lock(mutex_);
      if (status_.ok()) {
        ends_[++last_id_] = std::move(end);
        return last_id_;
      }
      status = status_;
    }
    end(status);
    return 0;
  }

  void Remove(std::uint64_t id) {
    base::MutexLock lock(mutex_);
    ends_.erase(id);
  }

  // Ends all streams, and those that come later.
  void EndAll(const absl::Status& status) {
    std::map<std::uint64_t, End> ends;
    {
      base::MutexLock lock(mutex_);
      status_ = status;
      ends.swap(ends_);
    }
    for (const auto& [id, end] : ends) end(status);
  }

  std::size_t size() const {
    base::MutexLock lock(mutex_);
    return ends_.size();
  }

 private:
  mutable base::Mutex mutex_;
  absl::Status status_ GUARDED_BY(mutex_);  // an error from EndAll() on
  std::uint64_t last_id_ GUARDED_BY(mutex_) = 0;
  std::map<std::uint64_t, End> ends_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
