#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dstack/shim/v1/task.pb.h"

#include "libs/base/mutex.h"

namespace dstack::shim {

// Told about every change of a task. The calls come with the board's lock held: they must return at
// once and not call the board.
class StatusListener {
 public:
  virtual ~StatusListener() = default;
  virtual void OnStatus(const v1::TaskStatus& status) = 0;
  virtual void OnRemoved(const std::string& task_id) = 0;
  // Everything known at the time of Attach() has been told.
  virtual void OnSynced() = 0;
};

// The status of every task, as told last. Thread-safe.
class StatusBoard {
 public:
  void Publish(const v1::TaskStatus& status);
  void Remove(const std::string& task_id);

  std::optional<v1::TaskStatus> Get(const std::string& task_id) const;
  // In the order of the ids.
  std::vector<v1::TaskStatus> List() const;

  // Tells the listener all that is known, then OnSynced(), then each change, without a gap between
  // them. One listener at a time: an earlier one is told nothing any more. It must be detached
  // before its end.
  void Attach(StatusListener* listener);
  // Does nothing when another one is attached.
  void Detach(StatusListener* listener);

  // Called after each change, without the lock, on the thread that made it; must not block. Empty:
  // nobody. Before the first change, or after the last.
  void SetObserver(std::function<void()> observer);

  // Tasks that have not ended.
  std::size_t live_count() const;

 private:
  mutable base::Mutex mutex_;
  std::map<std::string, v1::TaskStatus> statuses_ GUARDED_BY(mutex_);
  StatusListener* listener_ GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<const std::function<void()>> observer_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
