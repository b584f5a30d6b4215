#include "services/shim/adapters/fake_task_journal.h"

#include <utility>

namespace dstack::shim {

absl::Status FakeTaskJournal::Save(const record::TaskRecord& record) {
  base::MutexLock lock(mutex_);
  if (failures_ > 0) {
    --failures_;
    return failure_;
  }
  const std::string& task_id = record.spec().task_id();
  if (const auto it = records_.find(task_id); it != records_.end()) previous_[task_id] = it->second;
  records_[task_id] = record;
  auto& states = states_[record.spec().task_id()];
  const v1::TaskState state = record.status().state();
  if (states.empty() || states.back() != state) states.push_back(state);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<record::TaskRecord>> FakeTaskJournal::LoadAll() {
  base::MutexLock lock(mutex_);
  std::vector<record::TaskRecord> all;
  for (const auto& [id, record] : records_) all.push_back(record);
  return all;
}

absl::Status FakeTaskJournal::Remove(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  records_.erase(task_id);
  previous_.erase(task_id);
  return absl::OkStatus();
}

void FakeTaskJournal::TearLast(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  records_.erase(task_id);
  const auto node = previous_.extract(task_id);
  if (!node.empty()) records_[task_id] = node.mapped();
}

void FakeTaskJournal::FailSaves(int count, absl::Status status) {
  base::MutexLock lock(mutex_);
  failures_ = count;
  failure_ = std::move(status);
}

std::optional<record::TaskRecord> FakeTaskJournal::Get(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = records_.find(task_id);
  if (it == records_.end()) return std::nullopt;
  return it->second;
}

std::vector<v1::TaskState> FakeTaskJournal::saved_states(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = states_.find(task_id);
  return it == states_.end() ? std::vector<v1::TaskState>() : it->second;
}

}  // namespace dstack::shim
