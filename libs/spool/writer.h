#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/file.h"
#include "libs/spool/format.h"
#include "libs/spool/record.h"

namespace dstack::spool {

// What happens to output when the spool has no room.
enum class OverflowPolicy {
  kThrottle,  // Append takes nothing; the caller stops reading the process's output
  kDrop,      // output is counted and one gap marker stands for it
};

struct WriterOptions {
  // Created with mode 0700 when absent; its parent must exist.
  std::string dir;
  // Limit of all segments together. At least 64 KiB.
  std::uint64_t max_bytes = 256ULL << 20;
  // A new segment starts at this size; made smaller when max_bytes would hold fewer than four.
  std::uint64_t segment_bytes = 4ULL << 20;
  OverflowPolicy overflow = OverflowPolicy::kThrottle;
  // The first record gets a sequence above this one even when the directory is empty: readers that
  // have seen it must not take new records for old ones after a power loss.
  std::uint64_t after_sequence = 0;
};

// The one writer of a spool. Every record is in the page cache when Append returns: it survives any
// crash of our processes, but not a power loss (nothing is fsynced). Not thread-safe.
class Writer {
 public:
  enum class Appended { kStored, kFull, kDropped };
  // kBeyondLimit ignores max_bytes: for the last bytes of a process, which are few.
  enum class Room { kWithinLimit, kBeyondLimit };

  // Continues behind the last whole record of an earlier writer; a torn one is cut off.
  static absl::StatusOr<std::unique_ptr<Writer>> Open(WriterOptions options);

  // Adds one record, all or nothing. Its time is that of the record before where it would be
  // earlier. `data` has 1 to kMaxRecordBytes bytes, otherwise INVALID_ARGUMENT. A disk without
  // space counts as a full spool. kFull: nothing was taken, ask again once HasRoom() and, when
  // is_disk_full(), later. Other errors of the disk: INTERNAL, nothing was taken.
  absl::StatusOr<Appended> Append(std::string_view data,
                                  std::uint64_t time_unix_nano,
                                  Room room = Room::kWithinLimit);
  // Counts output that its owner gave up; the next marker tells of it.
  void Drop(std::uint64_t bytes) { dropped_bytes_ += bytes; }
  // Writes the marker of output dropped so far, if any; otherwise the next stored record does. On a
  // full disk it takes the reserve.
  absl::Status WriteGap(std::uint64_t time_unix_nano);
  // Gives a few KiB back to a full disk, for what must be written at the end. Once.
  void ReleaseReserve();
  // Deletes the segments whose records all have sequences up to `acked`. The newest one stays,
  // since its name tells the next writer where to continue.
  absl::Status Trim(std::uint64_t acked);

  bool HasRoom() const { return stored_bytes_ + kHeaderBytes + kMaxRecordBytes <= limit_; }
  // 0 while there is none.
  std::uint64_t last_sequence() const { return next_sequence_ - 1; }
  std::uint64_t stored_bytes() const { return stored_bytes_; }
  std::uint64_t dropped_bytes() const { return dropped_bytes_; }
  // The last append found no space on the disk, whatever the limit.
  bool is_disk_full() const { return is_disk_full_; }

 private:
  struct Segment {
    std::uint64_t first_sequence;
    std::uint64_t bytes;
  };

  explicit Writer(WriterOptions options);
  absl::StatusOr<bool> MakeRoom(std::string_view data,
                                std::uint64_t time_unix_nano,
                                std::uint64_t dropped_bytes);
  absl::Status Recover();
  absl::Status RecoverNewest();
  void MakeReserve();
  // OK false: the disk has no space.
  absl::StatusOr<bool> StartSegment();
  // OK false: the disk has no space.
  absl::StatusOr<bool> WriteRecord(std::string_view data,
                                   std::uint64_t time_unix_nano,
                                   std::uint64_t dropped_bytes);

  const WriterOptions options_;
  const std::uint64_t limit_;
  const std::uint64_t segment_bytes_;
  base::UniqueFd file_;
  std::deque<Segment> segments_;  // the last one is being written
  std::uint64_t stored_bytes_ = 0;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t dropped_bytes_ = 0;
  std::uint64_t last_time_ = 0;
  std::uint64_t acked_ = 0;
  bool is_disk_full_ = false;
};

}  // namespace dstack::spool
