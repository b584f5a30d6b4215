#include "libs/failpoint/failpoint.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include <signal.h>
#include <unistd.h>

#include "libs/base/status.h"

namespace dstack::failpoint {
namespace internal {

std::atomic<Mode> mode{Mode::kUnread};

}  // namespace internal

namespace {

using internal::Mode;

enum class Kind { kOff, kCrash, kExit, kError, kSleep };

struct Action {
  Kind kind = Kind::kOff;
  std::chrono::milliseconds sleep{0};
  std::uint64_t skip = 0;
  bool once = false;
};

struct Point {
  Action action;
  std::uint64_t hits = 0;
  bool spent = false;
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, Point, std::less<>> points;
};

Registry& TheRegistry() {
  static Registry& registry = *new Registry;  // outlives every thread
  return registry;
}

// The number in "word(123)", if text has that form.
std::optional<std::uint64_t> Argument(std::string_view text, std::string_view word) {
  if (!text.starts_with(word) || !text.ends_with(')')) return std::nullopt;
  text.remove_prefix(word.size());
  text.remove_suffix(1);
  if (!text.starts_with('(')) return std::nullopt;
  text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

absl::StatusOr<Action> ParseAction(std::string_view text) {
  const std::string_view whole = text;
  Action action;
  while (true) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) break;
    const std::string_view prefix = text.substr(0, colon);
    text.remove_prefix(colon + 1);
    if (prefix == "once") {
      action.once = true;
    } else if (const auto skip = Argument(prefix, "after")) {
      action.skip = *skip;
    } else {
      return base::Invalid(
          fmt::format("failpoint action '{}': unknown prefix '{}'", whole, prefix));
    }
  }
  if (text == "off") {
    action.kind = Kind::kOff;
  } else if (text == "crash") {
    action.kind = Kind::kCrash;
  } else if (text == "exit") {
    action.kind = Kind::kExit;
  } else if (text == "error") {
    action.kind = Kind::kError;
  } else if (const auto sleep = Argument(text, "sleep")) {
    action.kind = Kind::kSleep;
    action.sleep = std::chrono::milliseconds(*sleep);
  } else {
    return base::Invalid(fmt::format(
        "failpoint action '{}' is not one of crash, exit, error, sleep(ms), off", whole));
  }
  return action;
}

// A wrong variable ends the process: a fault test that tests nothing must not pass.
void ReadEnvironment() {
  static std::once_flag once;
  std::call_once(once, [] {
    const char* text = std::getenv("DSTACK_FAILPOINTS");
    if (text == nullptr) {
      Mode expected = Mode::kUnread;
      internal::mode.compare_exchange_strong(expected, Mode::kOff);
      return;
    }
    if (const absl::Status status = ArmFromText(text); !status.ok()) {
      fmt::print(stderr, "DSTACK_FAILPOINTS: {}\n", base::Message(status));
      std::abort();
    }
  });
}

absl::Status Act(const Action& action, std::string_view name) {
  switch (action.kind) {
    case Kind::kCrash:
      kill(getpid(), SIGKILL);
      // The signal is on its way; nothing may happen until it is here.
      while (true) pause();
    case Kind::kExit:
      _exit(137);
    case Kind::kError:
      return base::Unavailable(fmt::format("failpoint {}", name));
    case Kind::kSleep:
      std::this_thread::sleep_for(action.sleep);
      return absl::OkStatus();
    case Kind::kOff:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status internal::Hit(std::string_view name) {
  ReadEnvironment();
  Action action;
  {
    std::lock_guard lock(TheRegistry().mutex);
    const auto found = TheRegistry().points.find(name);
    if (found == TheRegistry().points.end()) return absl::OkStatus();
    Point& point = found->second;
    ++point.hits;
    if (point.spent || point.hits <= point.action.skip) return absl::OkStatus();
    point.spent = point.action.once;
    action = point.action;
  }
  return Act(action, name);
}

absl::Status Arm(std::string_view name, std::string_view action_text) {
  ASSIGN_OR_RETURN(const Action action, ParseAction(action_text));
  std::lock_guard lock(TheRegistry().mutex);
  TheRegistry().points[std::string(name)] = Point{.action = action};
  internal::mode = Mode::kArmed;
  return absl::OkStatus();
}

void Disarm(std::string_view name) {
  std::lock_guard lock(TheRegistry().mutex);
  const auto found = TheRegistry().points.find(name);
  if (found != TheRegistry().points.end()) TheRegistry().points.erase(found);
}

void DisarmAll() {
  std::lock_guard lock(TheRegistry().mutex);
  TheRegistry().points.clear();
}

absl::Status ArmFromText(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    const std::string_view entry = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (entry.empty()) continue;
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return base::Invalid(fmt::format("failpoint '{}' does not have the form name=action", entry));
    }
    RETURN_IF_ERROR(Arm(entry.substr(0, equals), entry.substr(equals + 1)));
  }
  return absl::OkStatus();
}

std::uint64_t Hits(std::string_view name) {
  std::lock_guard lock(TheRegistry().mutex);
  const auto found = TheRegistry().points.find(name);
  return found == TheRegistry().points.end() ? 0 : found->second.hits;
}

}  // namespace dstack::failpoint
