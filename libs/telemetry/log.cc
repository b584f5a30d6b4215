#include "libs/telemetry/log.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <memory>
#include <mutex>
#include <utility>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "libs/base/status.h"

namespace dstack::telemetry {
namespace {

// UTC with microseconds, as RFC 3339 wants it.
constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%fZ %v";

struct Output {
  std::shared_ptr<spdlog::logger> logger;
  std::function<void(std::string_view)> capture;
  bool json = false;
};

std::atomic<Level> minimum_level{Level::kInfo};
std::atomic<bool> is_captured{false};
// Guards `output`, which is a handful of pointers: writing happens inside spdlog's own lock.
std::mutex output_mutex;

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr sink, bool json) {
  auto logger = std::make_shared<spdlog::logger>("dstack", std::move(sink));
  logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      json ? "%v" : kPattern, spdlog::pattern_time_type::utc));
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::info);
  return logger;
}

Output& TheOutput() {
  // Never destroyed: threads may log while the process ends.
  static Output& output =
      *new Output{MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>(), false), {}, false};
  return output;
}

std::string_view LevelName(Level level) {
  constexpr std::array<std::string_view, 5> kNames = {"debug", "info", "warning", "error", "off"};
  return kNames.at(static_cast<std::size_t>(level));
}

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    default:
      return spdlog::level::err;
  }
}

void AppendEscaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
}

std::string TextLine(Level level, std::string_view event, Fields fields) {
  std::string line = fmt::format("{} ", LevelName(level));
  AppendEscaped(line, event);
  for (const Field& field : fields) {
    line += fmt::format(" {}={}", field.key, QuoteValue(field.value));
  }
  return line;
}

void AppendJsonPair(std::string& line, std::string_view key, std::string_view value) {
  line += line.empty() ? "{\"" : ",\"";
  AppendEscaped(line, key);
  line += "\":\"";
  AppendEscaped(line, value);
  line += '"';
}

std::string JsonLine(Level level, std::string_view event, Fields fields) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  const std::time_t seconds = micros / 1'000'000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::string line;
  AppendJsonPair(line,
                 "time",
                 fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                             utc.tm_year + 1900,
                             utc.tm_mon + 1,
                             utc.tm_mday,
                             utc.tm_hour,
                             utc.tm_min,
                             utc.tm_sec,
                             micros % 1'000'000));
  AppendJsonPair(line, "level", LevelName(level));
  AppendJsonPair(line, "event", event);
  for (const Field& field : fields) AppendJsonPair(line, field.key, field.value);
  return line + "}";
}

}  // namespace

std::string QuoteValue(std::string_view value) {
  const bool is_plain = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '"' && c != '=' && c != '\\';
  });
  if (is_plain) return std::string(value);
  std::string quoted = "\"";
  AppendEscaped(quoted, value);
  return quoted + '"';
}

absl::Status InitLog(const LogOptions& options) {
  std::shared_ptr<spdlog::logger> logger;
  try {
    spdlog::sink_ptr sink;
    if (options.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    }
    logger = MakeLogger(std::move(sink), options.json);
  } catch (const spdlog::spdlog_ex& e) {
    return base::Invalid(fmt::format("log file {}: {}", options.file, e.what()));
  }
  std::lock_guard lock(output_mutex);
  TheOutput().logger = std::move(logger);
  TheOutput().json = options.json;
  minimum_level = options.level;
  return absl::OkStatus();
}

absl::StatusOr<Level> ParseLevel(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  struct Alias {
    std::string_view text;
    Level level;
  };
  static constexpr Alias kAliases[] = {{"trace", Level::kDebug},
                                       {"warn", Level::kWarning},
                                       {"fatal", Level::kError},
                                       {"1", Level::kError},
                                       {"2", Level::kError},
                                       {"3", Level::kWarning},
                                       {"4", Level::kInfo},
                                       {"5", Level::kDebug},
                                       {"6", Level::kDebug}};
  for (const Alias& alias : kAliases) {
    if (lower == alias.text) return alias.level;
  }
  for (const Level level :
       {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError, Level::kOff}) {
    if (lower == LevelName(level)) return level;
  }
  return base::Invalid(
      fmt::format("log level '{}' is not one of debug, info, warning, error, off, 1 to 6", text));
}

bool IsEnabled(Level level) { return is_captured || level >= minimum_level; }

void Log(Level level, std::string_view event, Fields fields) {
  if (!IsEnabled(level) || level == Level::kOff) return;
  Output output;
  {
    std::lock_guard lock(output_mutex);
    output = TheOutput();
  }
  if (output.capture) {
    output.capture(TextLine(level, event, fields));
    return;
  }
  output.logger->log(ToSpdlog(level),
                     "{}",
                     output.json ? JsonLine(level, event, fields) : TextLine(level, event, fields));
}

void FlushLog() {
  std::lock_guard lock(output_mutex);
  TheOutput().logger->flush();
}

ScopedSink::ScopedSink(std::function<void(std::string_view line)> sink) {
  std::lock_guard lock(output_mutex);
  TheOutput().capture = std::move(sink);
  is_captured = true;
}

ScopedSink::~ScopedSink() {
  std::lock_guard lock(output_mutex);
  TheOutput().capture = nullptr;
  is_captured = false;
}

}  // namespace dstack::telemetry
