#include "services/shim/devices/nvidia_watch.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <variant>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr int kExitNoLibrary = 3;
constexpr std::size_t kMaxLine = std::size_t{1} << 20;
constexpr std::chrono::milliseconds kFirstPause{1000};
constexpr std::chrono::milliseconds kLongestPause{60'000};
// Once it ran this long, the next one is started without delay again.
constexpr std::chrono::seconds kGoodRun{60};
constexpr std::chrono::seconds kEndWait{5};

}  // namespace

NvidiaWatch::NvidiaWatch(std::vector<std::string> program,
                         std::function<void(const ProbeLine&)> on_line)
    : program_(std::move(program)),
      on_line_(std::move(on_line)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

NvidiaWatch::~NvidiaWatch() {
  thread_.request_stop();
  ::eventfd_write(wake_.get(), 1);
}

void NvidiaWatch::Run(const std::stop_token& stop) {
  auto pause = kFirstPause;
  while (!stop.stop_requested()) {
    const auto began = std::chrono::steady_clock::now();
    if (!FollowOne(stop)) return;
    const bool was_good = std::chrono::steady_clock::now() - began > kGoodRun;
    pause = was_good ? kFirstPause : std::min(2 * pause, kLongestPause);
    pollfd wake{.fd = wake_.get(), .events = POLLIN, .revents = 0};
    ::poll(&wake, 1, static_cast<int>(pause.count()));
  }
}

bool NvidiaWatch::FollowOne(const std::stop_token& stop) {
  std::vector<std::string> argv = program_;
  argv.insert(argv.begin() + 1, "watch");
  auto child = process::Subprocess::Start(
      argv, {.stdout_mode = process::Output::kPipe, .stderr_mode = process::Output::kNull});
  if (!child.ok()) {
    telemetry::Warn("accelerators are not watched", {{"status", child.status()}});
    return false;
  }
  const base::UniqueFd output = child->TakeStdout();
  std::string rest;
  std::array<char, 16384> buffer;
  while (!stop.stop_requested()) {
    std::array<pollfd, 2> fds = {{{.fd = output.get(), .events = POLLIN, .revents = 0},
                                  {.fd = wake_.get(), .events = POLLIN, .revents = 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 || fds[0].revents == 0) continue;
    const ssize_t size = ::read(output.get(), buffer.data(), buffer.size());
    if (size <= 0) break;
    TakeText({buffer.data(), static_cast<std::size_t>(size)}, &rest);
  }
  // At the end of the output it has ended; else its destructor kills it.
  const auto exit = stop.stop_requested() ? absl::StatusOr<process::Exit>(absl::CancelledError())
                                          : child->WaitUntil(base::DeadlineIn(kEndWait));
  if (!exit.ok()) return !stop.stop_requested();
  telemetry::Warn("the watch over accelerators ended", {{"exit", exit->ToString()}});
  return exit->code != kExitNoLibrary && exit->code != 127;
}

void NvidiaWatch::TakeText(std::string_view text, std::string* rest) {
  rest->append(text);
  std::size_t begin = 0;
  for (std::size_t end = rest->find('\n'); end != rest->npos; end = rest->find('\n', begin)) {
    const auto line = ParseProbeLine(std::string_view(*rest).substr(begin, end - begin));
    begin = end + 1;
    if (!line.ok()) {
      telemetry::Warn("the watch over accelerators is not understood", {{"status", line.status()}});
    } else if (const auto* note = std::get_if<ProbeNote>(&*line)) {
      telemetry::Info("watch over accelerators", {{"note", note->text}});
    } else {
      on_line_(*line);
    }
  }
  rest->erase(0, begin);
  if (rest->size() > kMaxLine) rest->clear();
}

}  // namespace dstack::shim
