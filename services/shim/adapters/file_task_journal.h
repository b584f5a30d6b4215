#pragma once

#include <optional>
#include <string>
#include <vector>

#include "services/shim/domain/shim_home.h"
#include "services/shim/ports/task_journal.h"

namespace dstack::shim {

// One file per task, <home>/tasks/<id>/task.pb (mode 0600: it holds the task's secrets), with a
// checksum in front, and its predecessor beside it.
class FileTaskJournal final : public TaskJournal {
 public:
  // `home` exists.
  explicit FileTaskJournal(ShimHome home) : home_(std::move(home)) {}

  absl::Status Save(const record::TaskRecord& record) override;
  // Also finishes removals that were cut off.
  absl::StatusOr<std::vector<record::TaskRecord>> LoadAll() override;
  absl::Status Remove(const std::string& task_id) override;

 private:
  std::optional<record::TaskRecord> LoadTask(const std::string& task_id);
  void SetAside(const std::string& task_id);

  const ShimHome home_;
};

}  // namespace dstack::shim
