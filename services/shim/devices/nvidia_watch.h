#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/file.h"
#include "services/shim/devices/probe_lines.h"

namespace dstack::shim {

// Keeps `dstack-gpu-probe watch` running and hands its lines on, on a thread of its own. One that
// dies is started again, ever more slowly; where NVIDIA's library is not there it is left at that.
class NvidiaWatch {
 public:
  // `program` is dstack-gpu-probe with the arguments that follow its verb. `on_line` must not block
  // for long.
  NvidiaWatch(std::vector<std::string> program, std::function<void(const ProbeLine&)> on_line);
  ~NvidiaWatch();

 private:
  void Run(const std::stop_token& stop);
  // Follows one process to its end; false when another one would be in vain.
  bool FollowOne(const std::stop_token& stop);
  void TakeText(std::string_view text, std::string* rest);

  const std::vector<std::string> program_;
  const std::function<void(const ProbeLine&)> on_line_;
  base::UniqueFd wake_;
  std::jthread thread_;
};

}  // namespace dstack::shim
