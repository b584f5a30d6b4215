#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/telemetry/log.h"

namespace dstack::testing {

// While it lives, all log lines of the process (every level) come here instead of the usual place.
// One at a time. Thread-safe.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // Lines as they would be printed after the timestamp: "info event key=value".
  std::vector<std::string> lines() const;
  bool Contains(std::string_view text) const;

 private:
  struct Lines;
  std::shared_ptr<Lines> lines_;
  telemetry::ScopedSink sink_;
};

}  // namespace dstack::testing
