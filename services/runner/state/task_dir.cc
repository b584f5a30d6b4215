#include "services/runner/state/task_dir.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {

std::string TaskDir::Spool(common::v1::LogSource source) const {
  return base::JoinPath(Spools(), source == common::v1::LOG_SOURCE_RUNNER ? "runner" : "job");
}

absl::StatusOr<bool> LoadProto(const std::string& path, google::protobuf::MessageLite* message) {
  auto bytes = base::ReadFile(path);
  if (bytes.status().code() == absl::StatusCode::kNotFound) return false;
  RETURN_IF_ERROR(bytes.status());
  if (!message->ParseFromString(*bytes)) {
    return base::Internal(fmt::format("{} is damaged", path));
  }
  return true;
}

absl::Status SaveProto(const std::string& path, const google::protobuf::MessageLite& message) {
  return base::WriteFileAtomic(path, message.SerializeAsString(), 0600);
}

absl::Status SaveFast(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".new";
  base::UniqueFd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return base::ErrnoError(errno, fmt::format("cannot create {}", temporary));
  RETURN_IF_ERROR(base::WriteAll(file.get(), bytes));
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return base::ErrnoError(errno, fmt::format("cannot replace {}", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> LockFile(const std::string& path, int wait_ms) {
  base::UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return base::ErrnoError(errno, fmt::format("cannot open {}", path));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return base::ErrnoError(errno, fmt::format("cannot lock {}", path));
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return base::Unavailable(fmt::format("{} is held by another process", path));
    }
    // flock has no timeout; the holder is about to leave.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return file;
}

}  // namespace dstack::runner
