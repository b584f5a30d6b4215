#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "libs/base/mutex.h"
#include "services/server/ports/usage_store.h"

namespace dstack::server {

// Collects the points of all hosts of this process, so that they go to the database in few
// statements. What it holds is lost with the process, at most some seconds; what the database does
// not take in time is dropped, oldest first. Thread-safe.
class UsageRecorder {
 public:
  // `store` outlives the object. At most `capacity` points wait.
  explicit UsageRecorder(UsageStore& store, std::size_t capacity = 100'000);

  void Add(std::string subject_id, api::v1::UsagePoint point) EXCLUDES(mutex_);
  // Writes some of what waits, blocking; true when more is left. Called by one thread.
  bool Flush() EXCLUDES(mutex_);

 private:
  std::vector<UsageStore::Row> Take() EXCLUDES(mutex_);
  void PutBack(std::vector<UsageStore::Row> rows) EXCLUDES(mutex_);

  UsageStore& store_;
  const std::size_t capacity_;
  base::Mutex mutex_;
  std::deque<UsageStore::Row> waiting_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
