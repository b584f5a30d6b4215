#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "services/shim/ports/task_journal.h"

namespace dstack::shim {

// In memory, for tests. What was saved can be read, and the next calls can be made to fail.
class FakeTaskJournal final : public TaskJournal {
 public:
  absl::Status Save(const record::TaskRecord& record) override;
  absl::StatusOr<std::vector<record::TaskRecord>> LoadAll() override;
  absl::Status Remove(const std::string& task_id) override;

  // The next `count` calls of Save() give `status` and keep the old record.
  void FailSaves(int count, absl::Status status);
  // As a power loss in the middle of the last write does: LoadAll() gives its predecessor, or
  // nothing when there was none.
  void TearLast(const std::string& task_id);
  std::optional<record::TaskRecord> Get(const std::string& task_id) const;
  // States in the order in which they were saved, repetitions left out.
  std::vector<v1::TaskState> saved_states(const std::string& task_id) const;

 private:
  mutable base::Mutex mutex_;
  std::map<std::string, record::TaskRecord> records_ GUARDED_BY(mutex_);
  // What each record replaced.
  std::map<std::string, record::TaskRecord> previous_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<v1::TaskState>> states_ GUARDED_BY(mutex_);
  int failures_ GUARDED_BY(mutex_) = 0;
  absl::Status failure_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
