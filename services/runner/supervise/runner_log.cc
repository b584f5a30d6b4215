#include "services/runner/supervise/runner_log.h"

#include <string>
#include <utility>

#include "libs/base/macros.h"
#include "libs/telemetry/log.h"

namespace dstack::runner {

RunnerLog::RunnerLog(std::unique_ptr<spool::Writer> writer,
                     const base::Clock& clock,
                     std::function<void()> on_stored)
    : writer_(std::move(writer)), clock_(clock), on_stored_(std::move(on_stored)) {}

absl::StatusOr<std::unique_ptr<RunnerLog>> RunnerLog::Open(spool::WriterOptions options,
                                                           const base::Clock& clock,
                                                           std::function<void()> on_stored) {
  ASSIGN_OR_RETURN(auto writer, spool::Writer::Open(std::move(options)));
  return std::unique_ptr<RunnerLog>(new RunnerLog(std::move(writer), clock, std::move(on_stored)));
}

void RunnerLog::Line(std::string_view text) {
  telemetry::Info("job", {{"line", text}});
  if (is_closed_) return;
  const auto now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.Now().time_since_epoch());
  std::string line(text.substr(0, spool::kMaxRecordBytes - 1));
  line += '\n';
  const auto stored = writer_->Append(line, static_cast<std::uint64_t>(now.count()));
  if (!stored.ok()) {
    telemetry::Error("runner log not written", {{"error", stored.status()}});
  } else if (*stored == spool::Writer::Appended::kStored) {
    on_stored_();
  }
}

void RunnerLog::Close() { is_closed_ = true; }

}  // namespace dstack::runner
