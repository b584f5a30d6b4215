#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

// Files, with errors as values. Paths are taken as they are: nothing is expanded.
namespace dstack::base {

// Owns a descriptor and closes it. Not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// A pipe with both ends close-on-exec.
struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
absl::StatusOr<Pipe> MakePipe();

// Whole content. NOT_FOUND when there is no such file; RESOURCE_EXHAUSTED when it is longer than
// `limit_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t limit_bytes = 64 << 20);

// Replaces `path` in one step: after a crash at any time it holds the old or the new content, and
// once this returned OK the new one survives power loss (fsync of file and directory). The mode is
// set exactly, whatever the umask. Leaves no temporary file behind on failure.
absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes, mode_t mode = 0644);

// Makes the directory and its parents. Every directory it makes gets `mode`; existing ones stay as
// they are.
absl::Status MakeDirs(const std::string& path, mode_t mode = 0755);

// Removes a file or a tree; OK when there is nothing. Does not follow symlinks. Others may remove
// the same at the same time.
absl::Status RemoveAll(const std::string& path);

// True when something is there (symlinks are followed).
bool Exists(const std::string& path);

// "a/b" from "a" and "b"; `name` must be relative.
std::string JoinPath(std::string_view directory, std::string_view name);

// Up to `size` bytes; 0 at the end of the file. Retries EINTR.
absl::StatusOr<std::size_t> ReadSome(int fd, char* buffer, std::size_t size);

// All bytes, in as many writes as it takes. Retries EINTR; the descriptor must be blocking.
absl::Status WriteAll(int fd, std::string_view bytes);

// Makes the entries of a directory durable.
absl::Status SyncDir(const std::string& path);

}  // namespace dstack::base
