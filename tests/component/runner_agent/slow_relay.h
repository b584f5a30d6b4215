#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <string>
#include <thread>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {

// A line between a server and a runner: everything goes through at once, until SlowDown() lets a
// byte a second through from the runner to the server.
class SlowRelay {
 public:
  // `socket_path` is the runner's.
  explicit SlowRelay(std::string socket_path);
  // Cuts all connections.
  ~SlowRelay();
  SlowRelay(const SlowRelay&) = delete;
  SlowRelay& operator=(const SlowRelay&) = delete;

  // For gRPC.
  std::string Target() const { return "unix:" + Path(); }
  void SlowDown() { is_slow_ = true; }
  // Bytes from the runner that went through since SlowDown().
  int slow_bytes() const { return slow_bytes_; }

 private:
  struct Line {
    base::UniqueFd server;
    base::UniqueFd runner;
  };

  std::string Path() const { return dir_.Path("relay.sock"); }
  void Run();
  void AddLine();
  // False when one of its ends has closed.
  bool Move(const Line& line, bool may_take_slow_byte);

  const std::string socket_path_;
  testing::TempDir dir_;
  base::UniqueFd listener_;
  std::atomic<bool> is_slow_ = false;
  std::atomic<int> slow_bytes_ = 0;
  // Of the thread alone.
  std::list<Line> lines_;
  std::chrono::steady_clock::time_point next_slow_byte_;
  std::jthread thread_;
};

}  // namespace dstack::runner
