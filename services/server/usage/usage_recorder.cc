#include "services/server/usage/usage_recorder.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

constexpr std::size_t kRowsPerStatement = 500;

}  // namespace

UsageRecorder::UsageRecorder(UsageStore& store, std::size_t capacity)
    : store_(store), capacity_(capacity) {}

void UsageRecorder::Add(std::string subject_id, api::v1::UsagePoint point) {
  base::MutexLock lock(mutex_);
  if (waiting_.size() >= capacity_) waiting_.pop_front();
  waiting_.push_back({std::move(subject_id), std::move(point)});
}

bool UsageRecorder::Flush() {
  std::vector<UsageStore::Row> rows = Take();
  if (rows.empty()) return false;
  const absl::Status stored = store_.Append(rows);
  if (stored.ok()) {
    base::MutexLock lock(mutex_);
    return !waiting_.empty();
  }
  telemetry::Warn("metrics cannot be stored", {{"points", rows.size()}, {"error", stored}});
  // What can never be stored must not hold up the rest.
  if (base::IsTransient(stored)) PutBack(std::move(rows));
  return false;
}

std::vector<UsageStore::Row> UsageRecorder::Take() {
  base::MutexLock lock(mutex_);
  const auto count =
      static_cast<std::ptrdiff_t>(std::min<std::size_t>(waiting_.size(), kRowsPerStatement));
  std::vector<UsageStore::Row> rows(std::make_move_iterator(waiting_.begin()),
                                    std::make_move_iterator(waiting_.begin() + count));
  waiting_.erase(waiting_.begin(), waiting_.begin() + count);
  return rows;
}

void UsageRecorder::PutBack(std::vector<UsageStore::Row> rows) {
  base::MutexLock lock(mutex_);
  for (auto row = rows.rbegin(); row != rows.rend() && waiting_.size() < capacity_; ++row) {
    waiting_.push_front(std::move(*row));
  }
}

}  // namespace dstack::server
