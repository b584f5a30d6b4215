#pragma once

#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "services/shim/domain/task_record.pb.h"

namespace dstack::shim {

// Records of the tasks, on disk. Thread-safe; calls for one task come one after the other.
class TaskJournal {
 public:
  virtual ~TaskJournal() = default;

  // Replaces the record of record.spec().task_id(). Once it returns OK the record survives a power
  // loss; after an error the old one is still there.
  virtual absl::Status Save(const record::TaskRecord& record) = 0;

  // All records. One that cannot be read is set aside with an alarm in the log, and its predecessor
  // is taken if that can be read.
  virtual absl::StatusOr<std::vector<record::TaskRecord>> LoadAll() = 0;

  // Forgets a task together with all files in its directory. OK when there is none.
  virtual absl::Status Remove(const std::string& task_id) = 0;
};

}  // namespace dstack::shim
