#include "services/runner/supervise/output_pump.h"

#include <cerrno>
#include <chrono>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

#include "libs/telemetry/log.h"

namespace dstack::runner {
namespace {

// A full disk gives no sign when it has room again; a full spool does (Resume).
constexpr std::chrono::milliseconds kDiskRetry{100};
// The kernel moves a terminal's output in a worker. A reader that empties the buffer while the
// worker finds it full waits for that worker only and is told EIO, although the worker has just
// been queued again for the rest (n_tty_read, tty_buffer_flush_work; seen with Linux 6.18). The
// next read waits for that one too, so that an end counts only when it is told again.
constexpr int kEndReads = 3;

}  // namespace

OutputPump::OutputPump(EventLoop& loop,
                       const base::Clock& clock,
                       spool::Writer& writer,
                       std::function<void()> on_changed,
                       std::function<void()> on_end)
    : loop_(loop),
      clock_(clock),
      writer_(writer),
      on_changed_(std::move(on_changed)),
      on_end_(std::move(on_end)) {}

OutputPump::~OutputPump() { Close(); }

void OutputPump::Start(base::UniqueFd output) {
  output_ = std::move(output);
  Watch();
}

void OutputPump::Watch() {
  loop_.Watch(output_.get(), EPOLLIN, [this](std::uint32_t) { OnReadable(); });
}

void OutputPump::OnReadable() {
  const bool is_open = FillBuffer();
  if (buffered_ > 0 && !StoreBuffer()) return Pause();
  if (!is_open) End();
}

bool OutputPump::FillBuffer() {
  int ends = 0;
  while (buffered_ < buffer_.size()) {
    const ssize_t got = read(output_.get(), buffer_.data() + buffered_, buffer_.size() - buffered_);
    if (got > 0) {
      buffered_ += static_cast<std::size_t>(got);
      ends = 0;
      continue;
    }
    if (got < 0 && errno == EAGAIN) return true;
    // EIO: the last process has closed the terminal.
    if (got == 0 || (errno != EINTR && ++ends == kEndReads)) return false;
  }
  return true;
}

bool OutputPump::StoreBuffer() {
  using spool::Writer;
  const auto room = is_finishing_ ? Writer::Room::kBeyondLimit : Writer::Room::kWithinLimit;
  const auto stored = writer_.Append({buffer_.data(), buffered_}, UnixNano(), room);
  if (!stored.ok() && !disk_full_since_) {
    telemetry::Error("output not stored", {{"error", stored.status()}});
  }
  // Also on a full disk, where a segment ended: its space comes back only when it is deleted and
  // nobody has it open any more, and a reader lets go of it when it looks for the next one.
  if (!stored.ok() || *stored == Writer::Appended::kStored || writer_.is_disk_full()) on_changed_();
  if (!stored.ok() || *stored == Writer::Appended::kFull) {
    // A disk that fails otherwise is no better than a full one.
    if (stored.ok() && !writer_.is_disk_full()) return false;
    if (!IsDiskGivenUp()) return false;
    writer_.Drop(buffered_);
    buffered_ = 0;
    return true;
  }
  disk_full_since_.reset();
  buffered_ = 0;
  return true;
}

bool OutputPump::IsDiskGivenUp() {
  const base::MonotonicTime now = clock_.MonotonicNow();
  if (!disk_full_since_) disk_full_since_ = now;
  return now - *disk_full_since_ >= kDiskPatience;
}

std::uint64_t OutputPump::UnixNano() const {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.Now().time_since_epoch())
          .count());
}

void OutputPump::Pause() {
  loop_.Unwatch(output_.get());
  loop_.Cancel(&retry_);
  retry_ = loop_.After(kDiskRetry, [this] { Resume(); });
}

void OutputPump::Resume() {
  if (!output_ || has_ended_) return;
  loop_.Cancel(&retry_);
  if (buffered_ > 0 && !StoreBuffer()) return Pause();
  Watch();
}

void OutputPump::PullNow() {
  // Bounded, because somebody may write as fast as we read.
  constexpr int kRounds = 64;
  for (int round = 0; round < kRounds && output_ && !has_ended_; ++round) {
    const bool is_open = FillBuffer();
    if (buffered_ == 0 || !StoreBuffer() || !is_open) return;
  }
}

void OutputPump::FinishSoon() {
  is_finishing_ = true;
  Resume();
}

void OutputPump::End() {
  if (has_ended_) return;
  has_ended_ = true;
  loop_.Unwatch(output_.get());
  output_.reset();
  on_end_();
}

void OutputPump::Close() {
  loop_.Cancel(&retry_);
  if (output_) {
    loop_.Unwatch(output_.get());
    DropRest();
    output_.reset();
  }
  has_ended_ = true;
  const absl::Status marked = writer_.WriteGap(UnixNano());
  if (!marked.ok()) telemetry::Error("gap marker not stored", {{"error", marked}});
}

// Counts what there is no space for. Bounded like PullNow.
void OutputPump::DropRest() {
  constexpr int kRounds = 64;
  for (int round = 0; round < kRounds; ++round) {
    const bool is_open = FillBuffer();
    if (buffered_ == 0) return;
    writer_.Drop(std::exchange(buffered_, 0));
    if (!is_open) return;
  }
}

}  // namespace dstack::runner
