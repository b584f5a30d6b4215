#include "libs/base/file.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::base {
namespace {

// A tree that others change is gone after a few looks, or never.
constexpr int kMaxRemovals = 16;

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status WriteNew(const std::string& path, std::string_view bytes, mode_t mode) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return ErrnoError(errno, "creating " + path);
  RETURN_IF_ERROR(AnnotateText(WriteAll(fd.get(), bytes), path));
  // After the content: nobody can open a half-written file by its wider mode.
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, "setting the mode of " + path);
  if (fsync(fd.get()) != 0) return ErrnoError(errno, "syncing " + path);
  // NFS and full disks report at close.
  if (close(fd.release()) != 0) return ErrnoError(errno, "closing " + path);
  return absl::OkStatus();
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

absl::StatusOr<Pipe> MakePipe() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoError(errno, "making a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

absl::StatusOr<std::size_t> ReadSome(int fd, char* buffer, std::size_t size) {
  while (true) {
    const ssize_t n = read(fd, buffer, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return ErrnoError(errno, "reading");
  }
}

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "writing");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t limit_bytes) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "opening " + path);
  std::string content;
  std::array<char, 16 << 10> buffer;
  while (true) {
    auto n = ReadSome(fd.get(), buffer.data(), buffer.size());
    if (!n.ok()) return AnnotateText(n.status(), path);
    if (*n == 0) return content;
    if (content.size() + *n > limit_bytes) {
      return absl::ResourceExhaustedError(
          fmt::format("{} is longer than {} bytes", path, limit_bytes));
    }
    content.append(buffer.data(), *n);
  }
}

absl::Status SyncDir(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "opening directory " + path);
  if (fsync(fd.get()) != 0) return ErrnoError(errno, "syncing directory " + path);
  return absl::OkStatus();
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes, mode_t mode) {
  // In the same directory, because rename() works within one file system only.
  const std::string temporary = fmt::format("{}.tmp-{}", path, HexEncode(SecureRandomBytes(6)));
  absl::Status status = WriteNew(temporary, bytes, mode);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoError(errno, "renaming to " + path);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDir(ParentOf(path));
}

absl::Status MakeDirs(const std::string& path, mode_t mode) {
  int error = mkdir(path.c_str(), 0700) == 0 ? 0 : errno;
  if (error == ENOENT && !path.empty() && ParentOf(path) != path) {
    RETURN_IF_ERROR(MakeDirs(ParentOf(path), mode));
    // Once only: below /proc, and through a dangling symlink, the answer stays ENOENT.
    error = mkdir(path.c_str(), 0700) == 0 ? 0 : errno;
  }
  if (error == 0) {
    if (chmod(path.c_str(), mode) != 0) return ErrnoError(errno, "setting the mode of " + path);
    return absl::OkStatus();
  }
  struct stat info;
  if (error == EEXIST && stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return absl::OkStatus();
  }
  return ErrnoError(error, "making directory " + path);
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  for (int i = 0; i < kMaxRemovals; ++i) {
    std::filesystem::remove_all(path, error);
    // Somebody else removes or writes in there; a process that is just ending, for example.
    if (error != std::errc::no_such_file_or_directory && error != std::errc::directory_not_empty) {
      break;
    }
  }
  if (error) return ErrnoError(error.value(), "removing " + path);
  return absl::OkStatus();
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  std::string path(directory);
  if (path.back() != '/') path += '/';
  path += name;
  return path;
}

}  // namespace dstack::base
