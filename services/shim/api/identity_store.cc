#include "services/shim/api/identity_store.h"

#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/strip.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"

namespace dstack::shim {
namespace {

constexpr mode_t kMode = 0600;
constexpr std::size_t kMaxServerIdBytes = 128;

// An epoch never gets shorter, so that on a full disk it is written over the one before, for which
// no room is needed; a disk writes so few bytes whole or not at all.
absl::Status WriteEpoch(const std::string& path, std::uint64_t epoch) {
  const std::string text = fmt::format("{}\n", epoch);
  absl::Status status = base::WriteFileAtomic(path, text, kMode);
  if (!absl::IsResourceExhausted(status)) return status;
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd || !base::WriteAll(fd.get(), text).ok() || ::fsync(fd.get()) != 0) return status;
  return absl::OkStatus();
}

// Empty when there is no such file.
absl::StatusOr<std::string> ReadLine(const std::string& path) {
  auto text = base::ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::string();
  if (!text.ok()) return text.status();
  return std::string(base::ToStd(absl::StripAsciiWhitespace(*text)));
}

}  // namespace

absl::StatusOr<IdentityStore> IdentityStore::Load(ShimHome home) {
  IdentityStore store(std::move(home));
  ASSIGN_OR_RETURN(store.shim_id_, ReadLine(store.home_.ShimId()));
  if (store.shim_id_.empty()) {
    store.shim_id_ = base::NewUuid();
    RETURN_IF_ERROR(base::WriteFileAtomic(store.home_.ShimId(), store.shim_id_ + "\n", kMode));
  }
  ASSIGN_OR_RETURN(store.server_id_, ReadLine(store.home_.ServerId()));
  ASSIGN_OR_RETURN(const std::string epoch, ReadLine(store.home_.Epoch()));
  if (!epoch.empty() && !absl::SimpleAtoi(epoch, &store.epoch_)) {
    return absl::DataLossError(
        fmt::format("{}: \"{}\" is not a number", store.home_.Epoch(), epoch.substr(0, 40)));
  }
  return store;
}

absl::Status IdentityStore::Accept(const std::string& server_id, std::uint64_t epoch) {
  const bool is_good = !server_id.empty() && server_id.size() <= kMaxServerIdBytes &&
                       server_id.find_first_of("\n\r") == server_id.npos;
  if (!is_good) return base::InvalidField("hello.server_id", "must be 1 to 128 characters");
  if (!server_id_.empty() && server_id != server_id_) {
    return base::Error(absl::StatusCode::kPermissionDenied,
                       "ACCESS_DENIED",
                       "this shim belongs to another installation of the server");
  }
  if (epoch < epoch_) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "STALE_EPOCH",
        fmt::format("epoch {} is below {}, which drives this host now", epoch, epoch_));
  }
  if (server_id_.empty()) {
    RETURN_IF_ERROR(base::WriteFileAtomic(home_.ServerId(), server_id + "\n", kMode));
    server_id_ = server_id;
  }
  if (epoch > epoch_) {
    RETURN_IF_ERROR(WriteEpoch(home_.Epoch(), epoch));
    epoch_ = epoch;
  }
  return absl::OkStatus();
}

}  // namespace dstack::shim
