#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/spool/writer.h"
#include "services/runner/loop/event_loop.h"

namespace dstack::runner {

// Moves the output of the command from its terminal to the spool. While the spool is full (and
// throttles) it does not read, so the command waits in write(2). A disk that stays full for
// kDiskPatience is not waited for: from then on output is counted and a gap marker stands for it,
// until there is space again. Lives on the loop's thread.
class OutputPump {
 public:
  static constexpr std::chrono::seconds kDiskPatience{10};

  // All references outlive the pump. `on_changed` is called when readers have to look at the spool:
  // after each append, and whenever the disk takes nothing. `on_end` is called once when no process
  // has the terminal open any more and all it held is stored.
  OutputPump(EventLoop& loop,
             const base::Clock& clock,
             spool::Writer& writer,
             std::function<void()> on_changed,
             std::function<void()> on_end);
  ~OutputPump();

  // Starts reading a non-blocking descriptor.
  void Start(base::UniqueFd output);
  // The spool has room again.
  void Resume();
  // Stores what the terminal holds at this moment, as far as there is room.
  void PullNow();
  // The command is gone: what the terminal still holds is stored without regard to the limit.
  void FinishSoon();
  // Stops reading; what could not be stored is counted. Writes the marker of dropped output.
  void Close();

  bool has_ended() const { return has_ended_; }

 private:
  void Watch();
  void OnReadable();
  // False at the end of the output.
  bool FillBuffer();
  // False when the spool takes nothing at the moment.
  bool StoreBuffer();
  bool IsDiskGivenUp();
  void DropRest();
  std::uint64_t UnixNano() const;
  void Pause();
  void End();

  EventLoop& loop_;
  const base::Clock& clock_;
  spool::Writer& writer_;
  const std::function<void()> on_changed_;
  const std::function<void()> on_end_;
  base::UniqueFd output_;
  std::array<char, spool::kMaxRecordBytes> buffer_;
  std::size_t buffered_ = 0;
  EventLoop::TimerId retry_ = EventLoop::kNoTimer;
  // Since when the disk has been full; nothing while it is not.
  std::optional<base::MonotonicTime> disk_full_since_;
  bool is_finishing_ = false;
  bool has_ended_ = false;
};

}  // namespace dstack::runner
