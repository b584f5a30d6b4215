// Colours of the terminal.
#pragma once

#include <string>
#include <string_view>

namespace dstack::cli {

enum class Style {
  kPlain,
  kBold,
  kSecondary,  // mid grey
  kSuccess,    // green
  kWarning,    // yellow
  kError,      // red
  kCode,       // bold sea green
  kPending,    // bold white
  kQueued,     // bold grey
  kChanging,   // bold deep sky blue
  kRunning,    // bold sea green
  kFinished,   // grey
  kFailed,     // indian red
  kNotice,     // gold
};

// The text in that style; unchanged without colours, and where it is empty.
std::string Paint(std::string_view text, Style style, bool has_color);

// Style of a status text of runs, jobs, fleets and instances, such as "running" or "exited (1)".
// An unknown text (a newer server) is plain.
Style StatusStyle(std::string_view status);

}  // namespace dstack::cli
