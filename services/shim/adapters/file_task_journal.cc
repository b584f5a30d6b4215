#include "services/shim/adapters/file_task_journal.h"

#include <algorithm>
#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/failpoint/failpoint.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

// A file: this line, SHA-256 of the rest as 32 bytes, the record.
constexpr std::string_view kMagic = "dstack-task 1\n";
constexpr std::size_t kDigestBytes = 32;
constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirMode = 0700;

std::string RecordPath(const ShimHome& home, std::string_view task_id) {
  return home.TaskDir(task_id) + "/task.pb";
}

std::string PreviousPath(const ShimHome& home, std::string_view task_id) {
  return home.TaskDir(task_id) + "/task.pb.prev";
}

std::string Encode(const record::TaskRecord& record) {
  const std::string payload = record.SerializeAsString();
  return fmt::format("{}{}{}", kMagic, base::Sha256Bytes(payload), payload);
}

absl::StatusOr<record::TaskRecord> Decode(std::string_view text, std::string_view task_id) {
  if (!text.starts_with(kMagic) || text.size() < kMagic.size() + kDigestBytes) {
    return absl::DataLossError("the file is cut off or has another format");
  }
  text.remove_prefix(kMagic.size());
  const std::string_view payload = text.substr(kDigestBytes);
  if (base::Sha256Bytes(payload) != text.substr(0, kDigestBytes)) {
    return absl::DataLossError("the checksum does not match");
  }
  record::TaskRecord record;
  if (!record.ParseFromArray(payload.data(), static_cast<int>(payload.size())) ||
      record.spec().task_id() != task_id) {
    return absl::DataLossError("the record is not the one of this directory");
  }
  return record;
}

// Names in a directory but for . and ..; empty when there is none.
std::vector<std::string> Names(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
  if (!dir) return names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Returns the new path.
absl::StatusOr<std::string> MoveInto(const std::string& from, const std::string& directory) {
  RETURN_IF_ERROR(base::MakeDirs(directory, kDirMode));
  std::string to = fmt::format("{}/{}", directory, base::NewUuid());
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return base::ErrnoError(errno, fmt::format("rename {} to {}", from, to));
  }
  return to;
}

// This one alone: other tasks are removed at the same time.
void RemoveMoved(const std::string& path, const std::string& task_id) {
  if (const absl::Status status = base::RemoveAll(path); !status.ok()) {
    telemetry::Warn("a removed task leaves files behind",
                    {{"task_id", task_id}, {"status", status}});
  }
}

}  // namespace

absl::Status FileTaskJournal::Save(const record::TaskRecord& record) {
  RETURN_IF_ERROR(FAILPOINT_STATUS("shim.journal.save"));
  const std::string& task_id = record.spec().task_id();
  const std::string directory = home_.TaskDir(task_id);
  RETURN_IF_ERROR(base::MakeDirs(directory, kDirMode));
  const std::string path = RecordPath(home_, task_id);
  const std::string previous = PreviousPath(home_, task_id);
  // A second name for the old record. When the file system refuses it there is simply none.
  ::unlink(previous.c_str());
  static_cast<void>(::link(path.c_str(), previous.c_str()) == 0);
  absl::Status status = base::WriteFileAtomic(path, Encode(record), kFileMode);
  // A task that is refused leaves nothing; any other one has files there.
  if (!status.ok()) ::rmdir(directory.c_str());
  return status;
}

absl::StatusOr<std::vector<record::TaskRecord>> FileTaskJournal::LoadAll() {
  if (const absl::Status status = base::RemoveAll(home_.Trash()); !status.ok()) {
    telemetry::Warn("removed tasks leave files behind", {{"status", status}});
  }
  std::vector<record::TaskRecord> records;
  for (const std::string& name : Names(home_.Tasks())) {
    if (auto record = LoadTask(name)) {
      records.push_back(*std::move(record));
    } else {
      SetAside(name);
    }
  }
  return records;
}

std::optional<record::TaskRecord> FileTaskJournal::LoadTask(const std::string& task_id) {
  for (const std::string& path : {RecordPath(home_, task_id), PreviousPath(home_, task_id)}) {
    const auto text = base::ReadFile(path);
    // A directory without any file belongs to a submit that was never answered.
    if (absl::IsNotFound(text.status())) continue;
    const auto record = text.ok() ? Decode(*text, task_id) : text.status();
    if (record.ok()) return *record;
    telemetry::Error("a task's record cannot be read",
                     {{"task_id", task_id}, {"file", path}, {"status", record.status()}});
  }
  return std::nullopt;
}

void FileTaskJournal::SetAside(const std::string& task_id) {
  const bool is_damaged = base::Exists(RecordPath(home_, task_id));
  const std::string target = is_damaged ? home_.Damaged() : home_.Trash();
  const auto moved = MoveInto(home_.TaskDir(task_id), target);
  if (is_damaged || !moved.ok()) {
    telemetry::Error("a task's directory was set aside",
                     {{"task_id", task_id}, {"directory", target}, {"status", moved.status()}});
  } else {
    RemoveMoved(*moved, task_id);
  }
}

absl::Status FileTaskJournal::Remove(const std::string& task_id) {
  const std::string path = home_.TaskDir(task_id);
  ::unlink(home_.ShortRunnerDir(task_id).c_str());
  if (!base::Exists(path)) return absl::OkStatus();
  // Moved first: a removal that is cut off must not leave a directory that looks like a task.
  ASSIGN_OR_RETURN(const std::string removed, MoveInto(path, home_.Trash()));
  RemoveMoved(removed, task_id);
  return absl::OkStatus();
}

}  // namespace dstack::shim
