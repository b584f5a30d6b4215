#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/spool/writer.h"
#include "services/runner/loop/event_loop.h"

namespace dstack::runner {

// Moves the output of the command from its terminal to the spool. While the spool is full (and
// throttles) it does not read, so the command waits in write(2). Lives on the loop's thread.
class OutputPump {
 public:
  // All references outlive the pump. `on_stored` is called after each append, `on_end` once when no
  // process has the terminal open any more and all it held is stored.
  OutputPump(EventLoop& loop,
             const base::Clock& clock,
             spool::Writer& writer,
             std::function<void()> on_stored,
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
  // Stops reading, whatever is left, and writes the marker of dropped output.
  void Close();

  bool has_ended() const { return has_ended_; }

 private:
  void Watch();
  void OnReadable();
  // False at the end of the output.
  bool FillBuffer();
  // False when the spool takes nothing at the moment.
  bool StoreBuffer();
  void Pause();
  void End();

  EventLoop& loop_;
  const base::Clock& clock_;
  spool::Writer& writer_;
  const std::function<void()> on_stored_;
  const std::function<void()> on_end_;
  base::UniqueFd output_;
  std::array<char, spool::kMaxRecordBytes> buffer_;
  std::size_t buffered_ = 0;
  EventLoop::TimerId retry_ = EventLoop::kNoTimer;
  bool is_finishing_ = false;
  bool has_ended_ = false;
};

}  // namespace dstack::runner
