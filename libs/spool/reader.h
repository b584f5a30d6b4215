#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/file.h"
#include "libs/spool/format.h"
#include "libs/spool/record.h"

namespace dstack::spool {

// Reads a spool in order, also while it is being written in another process. It does not wait: the
// owner calls Read again when it is told (by whatever means) that something was appended. Not
// thread-safe. Any number of readers may read one spool.
class Reader {
 public:
  // Starts behind `after_sequence`. The directory may not exist yet. OUT_OF_RANGE when records
  // behind it were trimmed already; the message and OldestSequence() tell where the spool starts.
  static absl::StatusOr<std::unique_ptr<Reader>> Open(std::string dir,
                                                      std::uint64_t after_sequence);

  // Adds records to `out` until their data has `max_bytes` or more, or there are no more. Sequences
  // have no holes: records that the disk has damaged are replaced by gap markers.
  absl::Status Read(std::size_t max_bytes, std::vector<Record>* out);

  // Sequence of the record that Read gives next.
  std::uint64_t next_sequence() const { return next_sequence_; }

 private:
  enum class Step { kRecord, kMoved, kEnd };
  static constexpr std::size_t kBufferBytes = 256 * 1024;
  static_assert(kBufferBytes >= kHeaderBytes + kMaxRecordBytes);

  Reader(std::string dir, std::uint64_t next_sequence);
  absl::StatusOr<Step> Next(std::vector<Record>* out);
  absl::StatusOr<Step> NextSegment(std::vector<Record>* out);
  absl::StatusOr<bool> OpenSegment(std::uint64_t first_sequence);
  absl::StatusOr<std::size_t> Fill();
  std::optional<RecordView> Decode() const;
  std::string_view Undecoded() const { return {buffer_.get() + used_, filled_ - used_}; }
  void MarkLost(std::uint64_t until_sequence, std::vector<Record>* out);

  const std::string dir_;
  std::uint64_t next_sequence_;
  base::UniqueFd file_;
  std::uint64_t first_sequence_ = 0;  // of the open segment
  std::uint64_t offset_ = 0;          // in the file, of the end of what was read
  const std::unique_ptr<char[]> buffer_;
  std::size_t filled_ = 0;  // bytes of it that were read
  std::size_t used_ = 0;    // of these, decoded
};

// First sequence that the spool still has; 1 when it has none.
absl::StatusOr<std::uint64_t> OldestSequence(const std::string& dir);

// Last sequence that was written, or the one below the first that will be; 0 for no spool. Reads
// one segment.
absl::StatusOr<std::uint64_t> LastSequence(const std::string& dir);

// The newest records with up to `max_bytes` of data, at most two segments of them, ascending.
absl::StatusOr<std::vector<Record>> ReadNewest(const std::string& dir, std::size_t max_bytes);

}  // namespace dstack::spool
