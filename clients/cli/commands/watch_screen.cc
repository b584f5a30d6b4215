#include "clients/cli/commands/watch_screen.h"

#include <algorithm>

#include <fmt/format.h>

#include "libs/base/macros.h"

namespace dstack::cli {

absl::StatusOr<int> WatchScreen(const Context& context,
                                std::chrono::milliseconds interval,
                                const std::function<absl::StatusOr<std::string>()>& render) {
  Interrupts interrupts(/*exit_code=*/0);
  interrupts.Collect(true);
  const bool is_tty = context.terminal.is_output_tty();
  std::string last;
  while (true) {
    ASSIGN_OR_RETURN(const std::string text, render());
    if (is_tty) {
      // Back to the first line of the text before it, and all below it removed.
      const auto lines = std::count(last.begin(), last.end(), '\n');
      if (lines > 0) context.terminal.Print(fmt::format("\x1b[{}A\x1b[J", lines));
      context.terminal.Print(text);
    } else if (text != last) {
      context.terminal.Print(text);
    }
    last = text;
    if (interrupts.Wait(interval) == Interrupts::Woken::kInterrupt) return 0;
  }
}

}  // namespace dstack::cli
