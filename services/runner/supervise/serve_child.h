#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include "services/runner/control/control.pb.h"

#include "libs/base/backoff.h"
#include "libs/base/file.h"
#include "libs/base/random.h"
#include "services/runner/control/channel.h"
#include "services/runner/loop/event_loop.h"

namespace dstack::runner {

// The child process that serves gRPC (`dstack-runner serve`): starts it, starts it again whenever
// it dies, and talks to it. Nothing of the job depends on it. Lives on the loop's thread.
class ServeChild {
 public:
  using Handler = std::function<void(const control::ToSupervisor&)>;

  // `args` follow "serve" on the command line. `loop` outlives the object.
  ServeChild(EventLoop& loop, std::vector<std::string> args, Handler handler);
  ~ServeChild();

  void Start();
  // The newest status; sent at once, and to each new child as its first message.
  void SetStatus(const v1::JobStatus& status);
  // Wakes the child: a spool has more records. Cheap, may be called for each record.
  void NotifyAppended();
  // A child process ended. True when it was this one.
  bool OnChildExit(pid_t pid, int wait_status);
  // No restarts from here on; calls `on_gone` once the child has ended, killing it when it takes
  // longer than `limit`.
  void Leave(std::chrono::milliseconds limit, std::function<void()> on_gone);

  // -1 while there is none.
  pid_t pid() const { return pid_; }
  bool is_connected() const { return is_connected_; }

 private:
  void Spawn();
  absl::Status TrySpawn();
  absl::StatusOr<pid_t> Fork(int control_fd);
  void OnPacket();
  void SendStatus();
  void WatchForInput();
  void Gone();

  EventLoop& loop_;
  const std::vector<std::string> args_;
  const Handler handler_;
  base::UniqueFd appended_;  // eventfd shared with every child
  std::unique_ptr<Channel> channel_;
  std::optional<control::FromSupervisor> status_;
  pid_t pid_ = -1;
  bool is_connected_ = false;
  std::chrono::steady_clock::time_point spawned_;
  base::SeededRandom random_;
  base::Backoff backoff_;
  EventLoop::TimerId restart_ = EventLoop::kNoTimer;
  EventLoop::TimerId kill_ = EventLoop::kNoTimer;
  bool is_leaving_ = false;
  std::function<void()> on_gone_;
};

}  // namespace dstack::runner
