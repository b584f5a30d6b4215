#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "dstack/runner/v1/runner_service.pb.h"

#include "libs/base/file.h"
#include "libs/base/sha256.h"

namespace dstack::runner {

// Archives of the job on their way in: files/<digest> once complete, files/<digest>.part before.
// One archive is received at a time. Not thread-safe.
class FileStore {
 public:
  explicit FileStore(std::string dir);

  // Digests of the job's files that are not there, each once.
  std::vector<std::string> Missing(const v1::JobSpec& job) const;
  std::string PathOf(const std::string& digest) const;
  // Takes the next piece. A piece at offset 0 starts its archive anew. Errors leave nothing of it
  // behind: INVALID_FIELDS (not an archive of the job, wrong offset, too long a piece),
  // DIGEST_MISMATCH, or the disk's.
  absl::Status Add(const v1::JobSpec& job, const v1::FileChunk& chunk);

 private:
  absl::Status Begin(const v1::FileChunk& chunk);
  absl::Status Complete();
  void Abandon();

  const std::string dir_;
  std::string digest_;  // of the archive being received; empty when none is
  std::uint64_t received_ = 0;
  base::UniqueFd file_;
  base::Sha256 hash_;
};

}  // namespace dstack::runner
