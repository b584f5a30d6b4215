#include "services/runner/serve/file_store.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kMaxChunkBytes = 1 << 20;

// Each digest once, in the order of use.
std::vector<std::string> DigestsOf(const v1::JobSpec& job) {
  std::vector<std::string> digests;
  const auto add = [&](const std::string& digest) {
    const bool is_known = std::find(digests.begin(), digests.end(), digest) != digests.end();
    if (!digest.empty() && !is_known) digests.push_back(digest);
  };
  add(job.repo().git().diff_digest());
  add(job.repo().archive_digest());
  for (const v1::FileMapping& file : job.files()) add(file.digest());
  return digests;
}

}  // namespace

FileStore::FileStore(std::string dir) : dir_(std::move(dir)) {}

std::string FileStore::PathOf(const std::string& digest) const {
  return base::JoinPath(dir_, digest);
}

std::vector<std::string> FileStore::Missing(const v1::JobSpec& job) const {
  std::vector<std::string> missing = DigestsOf(job);
  std::erase_if(missing,
                [this](const std::string& digest) { return base::Exists(PathOf(digest)); });
  return missing;
}

absl::Status FileStore::Add(const v1::JobSpec& job, const v1::FileChunk& chunk) {
  // The digest becomes a file name; those of the job were checked when it was submitted.
  const std::vector<std::string> digests = DigestsOf(job);
  if (std::find(digests.begin(), digests.end(), chunk.digest()) == digests.end()) {
    return base::InvalidField("file_chunk.digest",
                              fmt::format("{:?} is not a file of the job", chunk.digest()));
  }
  if (chunk.data().size() > kMaxChunkBytes) {
    return base::InvalidField(
        "file_chunk.data",
        fmt::format("has {} bytes, at most {} are allowed", chunk.data().size(), kMaxChunkBytes));
  }
  if (base::Exists(PathOf(chunk.digest()))) return absl::OkStatus();
  if (chunk.offset() == 0) RETURN_IF_ERROR(Begin(chunk));
  if (chunk.digest() != digest_ || chunk.offset() != received_) {
    const std::uint64_t expected = chunk.digest() == digest_ ? received_ : 0;
    Abandon();
    return base::InvalidField("file_chunk.offset",
                              fmt::format("is {}, expected {}", chunk.offset(), expected));
  }
  if (absl::Status written = base::WriteAll(file_.get(), chunk.data()); !written.ok()) {
    Abandon();
    return base::Annotate(written, "archive {}", chunk.digest());
  }
  hash_.Update(chunk.data());
  received_ += chunk.data().size();
  return chunk.is_last() ? Complete() : absl::OkStatus();
}

absl::Status FileStore::Begin(const v1::FileChunk& chunk) {
  Abandon();
  RETURN_IF_ERROR(base::MakeDirs(dir_, 0700));
  const std::string part = PathOf(chunk.digest()) + ".part";
  file_.reset(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file_) return base::ErrnoError(errno, fmt::format("cannot create {}", part));
  digest_ = chunk.digest();
  return absl::OkStatus();
}

absl::Status FileStore::Complete() {
  const std::string digest = digest_;
  if (const std::string actual = hash_.FinishHex(); actual != digest) {
    Abandon();
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "DIGEST_MISMATCH",
                       fmt::format("archive {} has the digest {}", digest, actual));
  }
  const std::string path = PathOf(digest);
  if (rename((path + ".part").c_str(), path.c_str()) != 0) {
    absl::Status error = base::ErrnoError(errno, fmt::format("cannot rename to {}", path));
    Abandon();
    return error;
  }
  digest_.clear();
  Abandon();
  return absl::OkStatus();
}

void FileStore::Abandon() {
  if (!digest_.empty()) unlink((PathOf(digest_) + ".part").c_str());
  digest_.clear();
  file_.reset();
  received_ = 0;
  hash_ = base::Sha256();
}

}  // namespace dstack::runner
