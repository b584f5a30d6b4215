#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "libs/spool/writer.h"

namespace dstack::runner {

// The log of what the runner did for the job, for the job's owner (log source RUNNER). Never holds
// values of the environment. Not thread-safe.
class RunnerLog {
 public:
  // `clock` outlives the log. `on_stored` is called after each line.
  static absl::StatusOr<std::unique_ptr<RunnerLog>> Open(spool::WriterOptions options,
                                                         const base::Clock& clock,
                                                         std::function<void()> on_stored);

  // One line of text; a newline is added. After Close lines go to the process's own log only.
  void Line(std::string_view text);
  void Close();

  spool::Writer& writer() { return *writer_; }

 private:
  RunnerLog(std::unique_ptr<spool::Writer> writer,
            const base::Clock& clock,
            std::function<void()> on_stored);

  std::unique_ptr<spool::Writer> writer_;
  const base::Clock& clock_;
  std::function<void()> on_stored_;
  bool is_closed_ = false;
};

}  // namespace dstack::runner
