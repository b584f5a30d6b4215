#include "services/shim/pipeline/status_board.h"

namespace dstack::shim {

void StatusBoard::Publish(const v1::TaskStatus& status) {
  base::MutexLock lock(mutex_);
  statuses_[status.task_id()] = status;
  if (listener_ != nullptr) listener_->OnStatus(status);
}

void StatusBoard::Remove(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  statuses_.erase(task_id);
  if (listener_ != nullptr) listener_->OnRemoved(task_id);
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
