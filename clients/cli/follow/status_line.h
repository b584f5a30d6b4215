// One line on the terminal that says what is being waited for.
#pragma once

#include <string>
#include <string_view>

#include "clients/cli/session/terminal.h"
#include "libs/base/mutex.h"

namespace dstack::cli {

// A spinner with a text on standard error, drawn only when that is a terminal. Any thread may call.
class StatusLine {
 public:
  explicit StatusLine(Terminal& terminal) : terminal_(terminal) {}
  ~StatusLine() { Close(); }

  // Shows the text; replaces the one before. Nothing after Close.
  void Show(std::string_view text);
  // The next picture of the spinner.
  void Tick();
  // Takes the line from the screen, so that something else can be printed; Show brings it back.
  void Hide();
  // Takes the line away for good: the output of a job begins.
  void Close();

 private:
  void Draw() REQUIRES(mutex_);
  void Erase() REQUIRES(mutex_);

  Terminal& terminal_;
  base::Mutex mutex_;
  std::string text_ GUARDED_BY(mutex_);
  size_t frame_ GUARDED_BY(mutex_) = 0;
  bool is_drawn_ GUARDED_BY(mutex_) = false;
  bool is_closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace dstack::cli
