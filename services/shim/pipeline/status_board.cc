#include "services/shim/pipeline/status_board.h"

#include <algorithm>
#include <utility>

namespace dstack::shim {

void StatusBoard::Publish(const v1::TaskStatus& status) {
  std::shared_ptr<const std::function<void()>> observer;
  {
    base::MutexLock lock(mutex_);
    statuses_[status.task_id()] = status;
    if (listener_ != nullptr) listener_->OnStatus(status);
    observer = observer_;
  }
  if (observer) (*observer)();
}

void StatusBoard::Remove(const std::string& task_id) {
  std::shared_ptr<const std::function<void()>> observer;
  {
    base::MutexLock lock(mutex_);
    statuses_.erase(task_id);
    if (listener_ != nullptr) listener_->OnRemoved(task_id);
    observer = observer_;
  }
  if (observer) (*observer)();
}

void StatusBoard::SetObserver(std::function<void()> observer) {
  base::MutexLock lock(mutex_);
  observer_ = observer ? std::make_shared<const std::function<void()>>(std::move(observer))
                       : std::shared_ptr<const std::function<void()>>();
}

std::size_t StatusBoard::live_count() const {
  base::MutexLock lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(statuses_.begin(), statuses_.end(), [](const auto& entry) {
        return entry.second.state() != v1::TASK_STATE_TERMINATED;
      }));
}

std::optional<v1::TaskStatus> StatusBoard::Get(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = statuses_.find(task_id);
  if (it == statuses_.end()) return std::nullopt;
  return it->second;
}

std::vector<v1::TaskStatus> StatusBoard::List() const {
  base::MutexLock lock(mutex_);
  std::vector<v1::TaskStatus> all;
  all.reserve(statuses_.size());
  for (const auto& [id, status] : statuses_) all.push_back(status);
  return all;
}

void StatusBoard::Attach(StatusListener* listener) {
  base::MutexLock lock(mutex_);
  listener_ = listener;
  for (const auto& [id, status] : statuses_) listener->OnStatus(status);
  listener->OnSynced();
}

void StatusBoard::Detach(StatusListener* listener) {
  base::MutexLock lock(mutex_);
  if (listener_ == listener) listener_ = nullptr;
}

}  // namespace dstack::shim
