#include "services/shim/api/drain_store.h"

#include <algorithm>
#include <utility>

#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr mode_t kMode = 0600;
constexpr std::size_t kMaxReasonBytes = 256;

absl::Status CheckReason(const std::string& reason) {
  const bool has_control = std::any_of(reason.begin(), reason.end(), absl::ascii_iscntrl);
  if (!reason.empty() && reason.size() <= kMaxReasonBytes && !has_control) return absl::OkStatus();
  return base::InvalidField(
      "reason", fmt::format("must be 1 to {} bytes without control characters", kMaxReasonBytes));
}

}  // namespace

DrainStore::DrainStore(ShimHome home, const StatusBoard& board)
    : home_(std::move(home)), board_(board) {}

absl::Status DrainStore::Load() {
  auto text = base::ReadFile(home_.Drain());
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!text.ok()) return text.status();
  while (!text->empty() && text->back() == '\n') text->pop_back();
  base::MutexLock lock(mutex_);
  reason_ = *std::move(text);
  return absl::OkStatus();
}

absl::Status DrainStore::Set(bool is_draining, const std::string& reason) {
  if (is_draining) RETURN_IF_ERROR(CheckReason(reason));
  // Held over the write, so that file and memory agree; the calls are rare.
  base::MutexLock lock(mutex_);
  if (is_draining) {
    RETURN_IF_ERROR(base::WriteFileAtomic(home_.Drain(), reason + "\n", kMode));
    reason_ = reason;
  } else {
    RETURN_IF_ERROR(base::RemoveAll(home_.Drain()));
    reason_.reset();
  }
  telemetry::Info("drain of the host", {{"is_draining", is_draining}, {"reason", reason}});
  return absl::OkStatus();
}

bool DrainStore::is_draining() const {
  base::MutexLock lock(mutex_);
  return reason_.has_value();
}

v1::DrainStatus DrainStore::status() const {
  v1::DrainStatus status;
  status.set_live_tasks(static_cast<std::uint32_t>(board_.live_count()));
  base::MutexLock lock(mutex_);
  status.set_is_draining(reason_.has_value());
  status.set_reason(reason_.value_or(""));
  return status;
}

absl::Status DrainStore::CheckTakesTasks() const {
  base::MutexLock lock(mutex_);
  if (!reason_) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "HOST_DRAINING",
                     fmt::format("the host takes no new tasks: {}", *reason_));
}

}  // namespace dstack::shim
