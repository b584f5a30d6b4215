// Where the program writes and whom it asks.
#pragma once

#include <string>
#include <string_view>

#include <absl/status/status.h>

#include "clients/cli/render/style.h"
#include "clients/cli/render/table.h"
#include "clients/cli/session/environment.h"
#include "clients/cli/session/interrupts.h"

namespace dstack::cli {

enum class Answer { kYes, kNo, kInterrupted };

// Standard output carries results: tables, JSON, the output of jobs. While the output of a job owns
// it, all that is for people goes to standard error (ReserveOutput). Writing is unbuffered. Print
// and Write may be called from any thread; the rest belongs to the main thread.
class Terminal {
 public:
  struct Descriptors {
    int in = 0;
    int out = 1;
    int err = 2;
  };

  explicit Terminal(const Environment& environment) : Terminal(environment, Descriptors()) {}
  Terminal(const Environment& environment, Descriptors descriptors);

  // From now on Print goes to standard error.
  void ReserveOutput() { messages_fd_ = fds_.err; }

  // Text for people, or the result of the command.
  void Print(std::string_view text);
  void PrintLine(std::string_view text, Style style = Style::kPlain);
  void PrintTable(const Table& table) { Print(table.Render(MessageScreen())); }

  // Bytes of a job to standard output, as they are. Waits for a slow reader, but not once `stop_fd`
  // (-1: none) is readable: CANCELLED, and a part of the bytes may be written then.
  absl::Status Write(std::string_view bytes, int stop_fd = -1);

  // To standard error; the text may come from elsewhere and is made harmless.
  void PrintError(std::string_view text);
  void PrintWarning(std::string_view text);

  // Drawing instructions to standard error, as they are.
  void PrintRaw(std::string_view text);

  // Asks until the answer is y or n; the end of input is "no". Ctrl-C is kInterrupted.
  Answer Ask(std::string_view question, Interrupts& interrupts);

  bool can_ask() const { return is_in_tty_; }
  bool is_error_tty() const { return is_err_tty_; }
  bool is_output_tty() const { return is_out_tty_; }
  // Screen that Print draws on; the width is asked for anew, since windows change.
  Screen MessageScreen() const;
  Screen ErrorScreen() const;

 private:
  Answer AskOnce(std::string_view question, Interrupts& interrupts);
  Screen ScreenOf(int fd, bool is_tty) const;
  void PrintMessage(std::string_view text, Style style);

  Descriptors fds_;
  int messages_fd_;
  bool is_in_tty_;
  bool is_out_tty_;
  bool is_err_tty_;
  bool colors_allowed_;
};

}  // namespace dstack::cli
