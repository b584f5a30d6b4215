#pragma once

#include <concepts>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

// One line per fact: an event in plain words and key=value pairs. Ids always have the same key
// (run_id, job_id, task_id, host_id, request_id).
//
//   telemetry::Info("task started", {{"task_id", id}, {"image", image}});
//
// Info is what an operator acts on; a healthy idle process is silent. All functions are
// thread-safe.
namespace dstack::telemetry {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

// A pair of a line. The value is any type that fmt can print, or a status. Values with spaces,
// quotes or control characters are quoted and escaped, so that a line stays one line.
struct Field {
  template <typename T>
  Field(std::string_view key_text, const T& value_in) : key(key_text) {
    if constexpr (std::same_as<T, absl::Status>) {
      value = value_in.ToString(absl::StatusToStringMode::kWithNoExtraData);
    } else {
      value = fmt::format("{}", value_in);
    }
  }

  std::string key;
  std::string value;
};
using Fields = std::initializer_list<Field>;

struct LogOptions {
  Level level = Level::kInfo;
  // One JSON object per line instead of text.
  bool json = false;
  // Appended to; standard error when empty.
  std::string file;
};

// Sets up the process's log. Before it, lines of level info and above go to standard error.
// Fails when the file cannot be opened.
absl::Status InitLog(const LogOptions& options);

// "debug" (or "trace"), "info", "warning" (or "warn"), "error" (or "fatal"), "off", in any case; or
// a digit from 1, the fewest lines, to 6, the most, of which neighbours may mean the same here.
absl::StatusOr<Level> ParseLevel(std::string_view text);

bool IsEnabled(Level level);
void Log(Level level, std::string_view event, Fields fields = {});

inline void Debug(std::string_view event, Fields fields = {}) {
  if (IsEnabled(Level::kDebug)) Log(Level::kDebug, event, fields);
}
inline void Info(std::string_view event, Fields fields = {}) { Log(Level::kInfo, event, fields); }
inline void Warn(std::string_view event, Fields fields = {}) {
  Log(Level::kWarning, event, fields);
}
inline void Error(std::string_view event, Fields fields = {}) { Log(Level::kError, event, fields); }

// Writes out what is buffered.
void FlushLog();

// While it lives, lines of every level go to `sink` ("level event key=value", without timestamp)
// and nowhere else. For tests and for programs that show their own log. One at a time.
class ScopedSink {
 public:
  explicit ScopedSink(std::function<void(std::string_view line)> sink);
  ~ScopedSink();
  ScopedSink(const ScopedSink&) = delete;
  ScopedSink& operator=(const ScopedSink&) = delete;
};

// How a value is written in a line.
std::string QuoteValue(std::string_view value);

}  // namespace dstack::telemetry
