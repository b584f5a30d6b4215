#include "clients/cli/session/terminal.h"

#include <climits>

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clients/cli/render/text.h"
#include "libs/base/file.h"

namespace dstack::cli {
namespace {

constexpr int kDefaultWidth = 80;

// One line without its end; nullopt at the end of input. Unbuffered, so that nothing is taken from
// whoever reads the descriptor next.
bool ReadLine(int fd, std::string* line) {
  line->clear();
  char c = 0;
  while (true) {
    const auto count = base::ReadSome(fd, &c, 1);
    if (!count.ok() || *count == 0) return !line->empty();
    if (c == '\n') return true;
    *line += c;
  }
}

}  // namespace

Terminal::Terminal(const Environment& environment, Descriptors descriptors)
    : fds_(descriptors),
      messages_fd_(descriptors.out),
      is_in_tty_(isatty(descriptors.in) == 1),
      is_out_tty_(isatty(descriptors.out) == 1),
      is_err_tty_(isatty(descriptors.err) == 1),
      colors_allowed_(!environment.Get("NO_COLOR").has_value() &&
                      environment.Get("TERM").value_or("dumb") != "dumb") {}

Screen Terminal::ScreenOf(int fd, bool is_tty) const {
  if (!is_tty) return {};
  winsize size{};
  const bool is_known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {is_known ? size.ws_col : kDefaultWidth, colors_allowed_};
}

Screen Terminal::MessageScreen() const {
  return ScreenOf(messages_fd_, messages_fd_ == fds_.out ? is_out_tty_ : is_err_tty_);
}

Screen Terminal::ErrorScreen() const { return ScreenOf(fds_.err, is_err_tty_); }

void Terminal::Print(std::string_view text) {
  // Nobody is left to tell when this fails.
  base::WriteAll(messages_fd_, text).IgnoreError();
}

void Terminal::PrintLine(std::string_view text, Style style) {
  Print(Paint(text, style, MessageScreen().has_color) + "\n");
}

absl::Status Terminal::Write(std::string_view bytes, int stop_fd) {
  while (!bytes.empty()) {
    pollfd fds[2] = {{fds_.out, POLLOUT, 0}, {stop_fd, POLLIN, 0}};
    poll(fds, 2, -1);
    if (fds[1].revents != 0) return absl::CancelledError("stopped while writing");
    // A pipe that is writable takes this much without blocking.
    const std::string_view piece = bytes.substr(0, PIPE_BUF);
    absl::Status status = base::WriteAll(fds_.out, piece);
    if (!status.ok()) return status;
    bytes.remove_prefix(piece.size());
  }
  return absl::OkStatus();
}

void Terminal::PrintMessage(std::string_view text, Style style) {
  const Screen screen = ErrorScreen();
  const std::string clean =
      WrapMessage(NeutraliseLines(text), static_cast<std::size_t>(screen.width));
  base::WriteAll(fds_.err, Paint(clean, style, screen.has_color) + "\n").IgnoreError();
}

void Terminal::PrintError(std::string_view text) { PrintMessage(text, Style::kError); }

void Terminal::PrintWarning(std::string_view text) { PrintMessage(text, Style::kWarning); }

void Terminal::PrintRaw(std::string_view text) { base::WriteAll(fds_.err, text).IgnoreError(); }

Answer Terminal::Ask(std::string_view question, Interrupts& interrupts) {
  const bool was_collecting = interrupts.Collect(true);
  const Answer answer = AskOnce(question, interrupts);
  interrupts.Collect(was_collecting);
  return answer;
}

Answer Terminal::AskOnce(std::string_view question, Interrupts& interrupts) {
  std::string line;
  while (true) {
    PrintRaw(fmt::format("{} [y/n]: ", Neutralise(question)));
    Interrupts::Woken woken = Interrupts::Woken::kTimeout;
    while (woken != Interrupts::Woken::kInput) {
      woken = interrupts.Wait(std::chrono::milliseconds(-1), fds_.in);
      if (woken == Interrupts::Woken::kInterrupt) {
        PrintRaw("\n");
        return Answer::kInterrupted;
      }
    }
    if (!ReadLine(fds_.in, &line)) return Answer::kNo;
    if (line == "y" || line == "Y" || line == "yes") return Answer::kYes;
    if (line == "n" || line == "N" || line == "no") return Answer::kNo;
  }
}

}  // namespace dstack::cli
