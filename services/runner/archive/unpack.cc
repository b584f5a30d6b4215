#include "services/runner/archive/unpack.h"

#include <memory>
#include <string_view>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/archive/tree_writer.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;

using Reader = std::unique_ptr<archive, int (*)(archive*)>;

absl::Status ArchiveError(archive* reader, std::string_view path) {
  const char* text = archive_error_string(reader);
  return base::Invalid(fmt::format("archive {}: {}", path, text != nullptr ? text : "damaged"));
}

absl::Status CopyData(archive* reader, int fd, std::string_view path) {
  const void* block = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  la_int64_t end = 0;
  int result = ARCHIVE_OK;
  while ((result = archive_read_data_block(reader, &block, &size, &offset)) == ARCHIVE_OK) {
    const char* data = static_cast<const char*>(block);
    // Sparse entries have holes between their blocks.
    if (lseek(fd, offset, SEEK_SET) < 0) return base::ErrnoError(errno, path);
    RETURN_IF_ERROR(base::WriteAll(fd, {data, size}));
    end = offset + static_cast<la_int64_t>(size);
  }
  if (result != ARCHIVE_EOF) return ArchiveError(reader, path);
  if (offset > end && ftruncate(fd, offset) != 0) return base::ErrnoError(errno, path);
  return absl::OkStatus();
}

absl::Status AddEntry(archive* reader, archive_entry* entry, TreeWriter& tree) {
  const char* path_text = archive_entry_pathname(entry);
  if (path_text == nullptr) return base::Invalid("archive entry without a name");
  const std::string path(path_text);
  if (const char* target = archive_entry_hardlink(entry)) return tree.AddHardlink(path, target);
  const mode_t mode = archive_entry_perm(entry);
  switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
      return tree.AddDirectory(path, mode);
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(entry);
      return tree.AddSymlink(path, target != nullptr ? target : "");
    }
    case AE_IFREG: {
      ASSIGN_OR_RETURN(const base::UniqueFd file, tree.AddFile(path, mode));
      RETURN_IF_ERROR(CopyData(reader, file.get(), path));
      const timespec times[2] = {
          {.tv_sec = 0, .tv_nsec = UTIME_NOW},
          {.tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry)}};
      futimens(file.get(), times);
      return absl::OkStatus();
    }
    default:
      return base::Invalid(
          fmt::format("archive entry {:?}: only files, directories and links are allowed", path));
  }
}

}  // namespace

absl::Status Unpack(const std::string& path,
                    const std::string& destination,
                    const std::optional<Ownership>& owner) {
  const std::size_t slash = destination.rfind('/');
  if (slash == std::string::npos) return base::Internal("the destination is not absolute");
  const std::string parent = slash == 0 ? "/" : destination.substr(0, slash);
  base::UniqueFd directory(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::ErrnoError(errno, parent);
  TreeWriter tree(std::move(directory), destination.substr(slash + 1), owner);

  const Reader reader(archive_read_new(), archive_read_free);
  // Nothing else: no compression means no archive that is larger than what arrived.
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), kReadBytes) != ARCHIVE_OK) {
    return ArchiveError(reader.get(), path);
  }
  archive_entry* entry = nullptr;
  int result = ARCHIVE_OK;
  while ((result = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    RETURN_IF_ERROR(AddEntry(reader.get(), entry, tree));
  }
  return result == ARCHIVE_EOF ? absl::OkStatus() : ArchiveError(reader.get(), path);
}

}  // namespace dstack::runner
