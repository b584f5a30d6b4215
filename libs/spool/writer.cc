#include "libs/spool/writer.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::spool {
namespace {

constexpr std::uint64_t kMinLimit = 64 * 1024;
// Space that a full disk still has for the last marker: a file that is deleted then.
constexpr std::size_t kReserveBytes = 16 * 1024;
constexpr char kReserve[] = "reserve";

absl::Status DiskError(std::string_view what, const std::string& path, int error) {
  return base::ErrnoError(error, fmt::format("{} {}", what, path));
}

bool IsDiskFull(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

// Writes both pieces at `offset`. Returns an errno, 0 for success.
int WriteAll(int fd, std::string_view head, std::string_view body, std::uint64_t offset) {
  while (!head.empty() || !body.empty()) {
    const iovec parts[2] = {{const_cast<char*>(head.data()), head.size()},
                            {const_cast<char*>(body.data()), body.size()}};
    const ssize_t written = pwritev(fd, parts, 2, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    const auto count = static_cast<std::size_t>(written);
    const std::size_t from_head = std::min(count, head.size());
    head.remove_prefix(from_head);
    body.remove_prefix(count - from_head);
    offset += count;
  }
  return 0;
}

// Position behind the last whole record, and its sequence.
struct Tail {
  std::uint64_t bytes = 0;
  std::uint64_t last_sequence = 0;
};

absl::StatusOr<Tail> FindTail(int fd, const std::string& path, std::uint64_t first_sequence) {
  Tail tail{.bytes = 0, .last_sequence = first_sequence - 1};
  std::string buffer(kHeaderBytes + kMaxRecordBytes, '\0');
  while (true) {
    const ssize_t got = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(tail.bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return DiskError("cannot read", path, errno);
    const std::string_view read(buffer.data(), static_cast<std::size_t>(got));
    std::size_t used = 0;
    while (const auto record = DecodeRecord(read.substr(used))) {
      if (record->sequence != tail.last_sequence + 1) break;  // damage, however it came there
      used += record->DiskBytes();
      tail.last_sequence = record->sequence;
    }
    if (used == 0) return tail;
    tail.bytes += used;
  }
}

}  // namespace

Writer::Writer(WriterOptions options)
    : options_(std::move(options)),
      limit_(std::max(options_.max_bytes, kMinLimit)),
      segment_bytes_(std::min(options_.segment_bytes, limit_ / 4)) {}

absl::StatusOr<std::unique_ptr<Writer>> Writer::Open(WriterOptions options) {
  std::unique_ptr<Writer> writer(new Writer(std::move(options)));
  const std::string& dir = writer->options_.dir;
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return DiskError("cannot create spool", dir, errno);
  }
  RETURN_IF_ERROR(writer->Recover());
  writer->MakeReserve();
  return writer;
}

// On a disk that is full already there is none; that is no reason not to start.
void Writer::MakeReserve() {
  const std::string path = base::JoinPath(options_.dir, kReserve);
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file) WriteAll(file.get(), std::string(kReserveBytes, '\0'), {}, 0);
}

void Writer::ReleaseReserve() { unlink(base::JoinPath(options_.dir, kReserve).c_str()); }

absl::Status Writer::Recover() {
  ASSIGN_OR_RETURN(const std::vector<std::uint64_t> firsts, ListSegments(options_.dir));
  for (const std::uint64_t first : firsts) {
    const std::string path = SegmentPath(options_.dir, first);
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return DiskError("cannot read", path, errno);
    segments_.push_back({first, static_cast<std::uint64_t>(info.st_size)});
    stored_bytes_ += static_cast<std::uint64_t>(info.st_size);
  }
  if (!segments_.empty()) RETURN_IF_ERROR(RecoverNewest());
  if (segments_.empty() || next_sequence_ <= options_.after_sequence) {
    next_sequence_ = std::max(next_sequence_, options_.after_sequence + 1);
    ASSIGN_OR_RETURN(const bool is_started, StartSegment());
    if (!is_started) {
      return base::Error(absl::StatusCode::kResourceExhausted,
                         base::kDiskFull,
                         fmt::format("no space on the disk of {}", options_.dir));
    }
  }
  return absl::OkStatus();
}

absl::Status Writer::RecoverNewest() {
  Segment& newest = segments_.back();
  const std::string path = SegmentPath(options_.dir, newest.first_sequence);
  file_.reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file_) return DiskError("cannot open", path, errno);
  ASSIGN_OR_RETURN(const Tail tail, FindTail(file_.get(), path, newest.first_sequence));
  if (tail.bytes != newest.bytes && ftruncate(file_.get(), static_cast<off_t>(tail.bytes)) != 0) {
    return DiskError("cannot cut the torn end of", path, errno);
  }
  stored_bytes_ -= newest.bytes - tail.bytes;
  newest.bytes = tail.bytes;
  next_sequence_ = tail.last_sequence + 1;
  return absl::OkStatus();
}

absl::StatusOr<bool> Writer::StartSegment() {
  const std::string path = SegmentPath(options_.dir, next_sequence_);
  base::UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) {
    if (IsDiskFull(errno)) return false;
    return DiskError("cannot create", path, errno);
  }
  file_ = std::move(file);
  segments_.push_back({next_sequence_, 0});
  return true;
}

absl::StatusOr<Writer::Appended> Writer::Append(std::string_view data,
                                                std::uint64_t time_unix_nano,
                                                Room room) {
  if (data.empty() || data.size() > kMaxRecordBytes) {
    return base::Error(
        absl::StatusCode::kInvalidArgument,
        "INVALID_FIELDS",
        fmt::format("a record has 1 to {} bytes, not {}", kMaxRecordBytes, data.size()));
  }
  is_disk_full_ = false;
  bool is_stored = room == Room::kBeyondLimit || HasRoom();
  if (is_stored && dropped_bytes_ > 0) {
    ASSIGN_OR_RETURN(is_stored, WriteRecord({}, time_unix_nano, dropped_bytes_));
    if (is_stored) dropped_bytes_ = 0;
  }
  if (is_stored) {
    ASSIGN_OR_RETURN(is_stored, WriteRecord(data, time_unix_nano, 0));
  }
  if (is_stored) return Appended::kStored;
  if (options_.overflow == OverflowPolicy::kThrottle) return Appended::kFull;
  dropped_bytes_ += data.size();
  return Appended::kDropped;
}

absl::Status Writer::WriteGap(std::uint64_t time_unix_nano) {
  if (dropped_bytes_ == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(bool is_stored, WriteRecord({}, time_unix_nano, dropped_bytes_));
  if (!is_stored) {
    ReleaseReserve();
    ASSIGN_OR_RETURN(is_stored, WriteRecord({}, time_unix_nano, dropped_bytes_));
  }
  if (!is_stored) {
    return base::Error(absl::StatusCode::kResourceExhausted,
                       base::kDiskFull,
                       fmt::format("no space on the disk of {}", options_.dir));
  }
  dropped_bytes_ = 0;
  return absl::OkStatus();
}

absl::StatusOr<bool> Writer::WriteRecord(std::string_view data,
                                         std::uint64_t time_unix_nano,
                                         std::uint64_t dropped_bytes) {
  if (segments_.back().bytes >= segment_bytes_) {
    ASSIGN_OR_RETURN(const bool is_started, StartSegment());
    is_disk_full_ = !is_started;
    if (!is_started) return false;
  }
  Segment& segment = segments_.back();
  // A clock that was set back must not turn the order of records around.
  last_time_ = std::max(last_time_, time_unix_nano);
  const RecordView record{next_sequence_, last_time_, data, dropped_bytes};
  const auto header = EncodeHeader(record);
  const int error = WriteAll(file_.get(), {header.data(), header.size()}, data, segment.bytes);
  if (error != 0) {
    // What was written of it would look like the torn end of a crash; the next record goes over it.
    const bool is_cut = ftruncate(file_.get(), static_cast<off_t>(segment.bytes)) == 0;
    if (!is_cut || !IsDiskFull(error)) {
      return DiskError("cannot write", SegmentPath(options_.dir, segment.first_sequence), error);
    }
    return MakeRoom(data, time_unix_nano, dropped_bytes);
  }
  segment.bytes += record.DiskBytes();
  stored_bytes_ += record.DiskBytes();
  ++next_sequence_;
  return true;
}

// A segment that is not the newest can be deleted once it is acknowledged, so the one that is being
// written ends here. Also what a limit for the size of a file needs (ulimit -f).
absl::StatusOr<bool> Writer::MakeRoom(std::string_view data,
                                      std::uint64_t time_unix_nano,
                                      std::uint64_t dropped_bytes) {
  is_disk_full_ = true;
  if (segments_.back().bytes == 0) return false;
  ASSIGN_OR_RETURN(const bool is_started, StartSegment());
  if (!is_started) return false;
  RETURN_IF_ERROR(Trim(acked_));
  is_disk_full_ = false;
  return WriteRecord(data, time_unix_nano, dropped_bytes);
}

absl::Status Writer::Trim(std::uint64_t acked) {
  acked_ = std::max(acked_, acked);
  while (segments_.size() > 1 && segments_[1].first_sequence <= acked + 1) {
    const std::string path = SegmentPath(options_.dir, segments_.front().first_sequence);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return DiskError("cannot delete", path, errno);
    }
    stored_bytes_ -= segments_.front().bytes;
    segments_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace dstack::spool
