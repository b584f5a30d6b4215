#pragma once

#include <string>

namespace dstack::shim {

// Serves what a task's runner left in its directory after the container is gone. Thread-safe; does
// not block for long.
class LogDelivery {
 public:
  virtual ~LogDelivery() = default;

  // Begins to serve, and goes on until the server has acknowledged everything or Stop() is called.
  // Does nothing when everything is acknowledged, or when it serves already.
  virtual void Start(const std::string& task_id, const std::string& runner_dir) = 0;

  // Ends it. Returns when nothing uses the directory any more.
  virtual void Stop(const std::string& task_id) = 0;
};

}  // namespace dstack::shim
