#include "clients/cli/files/archive.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "clients/cli/files/ignore.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

constexpr uint64_t kLargestArchiveBytes = 1ULL << 30;
// 1980-01-01: the earliest time that zip files can hold, since build tools put packed files there.
constexpr time_t kFixedTime = 315532800;
constexpr size_t kPieceBytes = 64 << 10;

using EntryPtr = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

class Packer {
 public:
  Packer(std::string root, uint64_t limit_bytes)
      : root_(std::move(root)), limit_bytes_(limit_bytes), writer_(archive_write_new()) {}
  ~Packer() { archive_write_free(writer_); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  absl::StatusOr<Archive> Pack() {
    // Plain ustar headers, with extensions only where a name is too long for them.
    archive_write_set_format_pax_restricted(writer_);
    archive_write_add_filter_none(writer_);
    archive_write_set_bytes_in_last_block(writer_, 1);
    if (archive_write_open(writer_, this, nullptr, &Packer::OnBytes, nullptr) != ARCHIVE_OK) {
      return ArchiveError();
    }
    struct stat info {};
    if (stat(root_.c_str(), &info) != 0) return base::ErrnoError(errno, root_);
    RETURN_IF_ERROR(AddAny(root_, BaseName(), "", info));
    if (archive_write_close(writer_) != ARCHIVE_OK) return ArchiveError();
    result_.digest = base::Sha256Hex(result_.bytes);
    return std::move(result_);
  }

 private:
  static la_ssize_t OnBytes(struct archive* writer, void* self, const void* bytes, size_t size) {
    auto* packer = static_cast<Packer*>(self);
    if (packer->result_.bytes.size() + size > packer->limit_bytes_) {
      packer->is_too_large_ = true;
      archive_set_error(writer, EFBIG, "too large");
      return -1;
    }
    packer->result_.bytes.append(static_cast<const char*>(bytes), size);
    return static_cast<la_ssize_t>(size);
  }

  // "dir" for "/x/dir/", also where the path is "." or ends in "..".
  std::string BaseName() const {
    std::error_code error;
    std::filesystem::path path = std::filesystem::canonical(root_, error);
    const bool is_name = !error && root_.back() != '.' && root_.back() != '/';
    if (is_name) path = std::filesystem::path(root_);
    const std::string name = path.filename().string();
    return name.empty() ? "root" : name;
  }

  absl::Status ArchiveError() const {
    if (is_too_large_) {
      return base::Error(
          absl::StatusCode::kResourceExhausted,
          "TOO_LARGE",
          fmt::format("{}: the archive is larger than {} bytes", root_, limit_bytes_));
    }
    const char* text = archive_error_string(writer_);
    return base::Internal(fmt::format("packing {}: {}", root_, text == nullptr ? "?" : text));
  }

  // `name` is the name in the archive, `relative` the path below the root for the ignore rules.
  absl::Status AddAny(const std::string& path,
                      const std::string& name,
                      const std::string& relative,
                      const struct stat& info) {
    if (S_ISDIR(info.st_mode)) return AddDirectory(path, name, relative);
    if (S_ISREG(info.st_mode)) return AddFile(path, name, info);
    if (S_ISLNK(info.st_mode)) return AddLink(path, name);
    result_.skipped.push_back(path);
    return absl::OkStatus();
  }

  static EntryPtr NewEntry(const std::string& name, unsigned type, mode_t mode) {
    EntryPtr entry(archive_entry_new(), &archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), type);
    archive_entry_set_perm(entry.get(), mode);
    archive_entry_set_mtime(entry.get(), kFixedTime, 0);
    return entry;
  }

  absl::Status WriteHeader(archive_entry* entry) {
    return archive_write_header(writer_, entry) < ARCHIVE_WARN ? ArchiveError() : absl::OkStatus();
  }

  absl::Status AddDirectory(const std::string& path,
                            const std::string& name,
                            const std::string& relative) {
    RETURN_IF_ERROR(WriteHeader(NewEntry(name, AE_IFDIR, 0755).get()));
    for (const char* file : {".gitignore", ".dstackignore"}) {
      const auto text = base::ReadFile(base::JoinPath(path, file), 1 << 20);
      if (text.ok()) rules_.AddFile(relative, *text);
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> children, ListDirectory(path));
    for (const std::string& child : children) {
      const std::string child_path = base::JoinPath(path, child);
      const std::string below = relative.empty() ? child : relative + "/" + child;
      struct stat info {};
      if (lstat(child_path.c_str(), &info) != 0) return base::ErrnoError(errno, child_path);
      if (rules_.IsIgnored(below, S_ISDIR(info.st_mode))) continue;
      RETURN_IF_ERROR(AddAny(child_path, name + "/" + child, below, info));
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator iterator(path, error);
    while (!error && iterator != std::filesystem::directory_iterator()) {
      names.push_back(iterator->path().filename().string());
      iterator.increment(error);
    }
    if (error) return base::ErrnoError(error.value(), path);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status AddFile(const std::string& path, const std::string& name, const struct stat& info) {
    const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return base::ErrnoError(errno, path);
    EntryPtr entry = NewEntry(name, AE_IFREG, (info.st_mode & S_IXUSR) != 0 ? 0755 : 0644);
    archive_entry_set_size(entry.get(), info.st_size);
    RETURN_IF_ERROR(WriteHeader(entry.get()));
    std::string buffer(kPieceBytes, '\0');
    auto rest = static_cast<uint64_t>(info.st_size);
    while (rest > 0) {
      ASSIGN_OR_RETURN(
          const size_t count,
          base::ReadSome(fd.get(), buffer.data(), std::min<uint64_t>(rest, buffer.size())));
      if (count == 0) return base::Internal(fmt::format("{}: changed while it was packed", path));
      if (archive_write_data(writer_, buffer.data(), count) < 0) return ArchiveError();
      rest -= count;
    }
    return absl::OkStatus();
  }

  absl::Status AddLink(const std::string& path, const std::string& name) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(path, error).string();
    if (error) return base::ErrnoError(error.value(), path);
    EntryPtr entry = NewEntry(name, AE_IFLNK, 0777);
    archive_entry_set_symlink(entry.get(), target.c_str());
    return WriteHeader(entry.get());
  }

  const std::string root_;
  const uint64_t limit_bytes_;
  struct archive* writer_;
  bool is_too_large_ = false;
  IgnoreRules rules_;
  Archive result_;
};

}  // namespace

absl::StatusOr<Archive> PackPath(const std::string& path, uint64_t limit_bytes) {
  const uint64_t limit =
      limit_bytes == 0 ? kLargestArchiveBytes : std::min(limit_bytes, kLargestArchiveBytes);
  if (path.empty()) return base::Invalid("files: the path is empty");
  return Packer(path, limit).Pack();
}

}  // namespace dstack::cli
