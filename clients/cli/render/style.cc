#include "clients/cli/render/style.h"

#include <utility>

namespace dstack::cli {
namespace {

// Parameters of the "select graphic rendition" sequence; 38;5;N is the 256-colour palette.
const char* Parameters(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "1";
    case Style::kSecondary:
      return "38;5;246";
    case Style::kSuccess:
      return "32";
    case Style::kWarning:
      return "33";
    case Style::kError:
      return "31";
    case Style::kCode:
      return "1;38;5;78";
    case Style::kPending:
      return "1;37";
    case Style::kQueued:
      return "1;38;5;246";
    case Style::kChanging:
      return "1;38;5;39";
    case Style::kRunning:
      return "1;38;5;78";
    case Style::kFinished:
      return "38;5;246";
    case Style::kFailed:
      return "38;5;167";
    case Style::kNotice:
      return "38;5;178";
  }
  return "";
}

constexpr std::pair<std::string_view, Style> kStatusStyles[] = {
    {"pending", Style::kPending},      {"submitted", Style::kQueued},
    {"retrying", Style::kPending},     {"provisioning", Style::kChanging},
    {"terminating", Style::kChanging}, {"busy", Style::kChanging},
    {"pulling", Style::kRunning},      {"running", Style::kRunning},
    {"idle", Style::kRunning},         {"active", Style::kFinished},
    {"done", Style::kFinished},        {"exited (0)", Style::kFinished},
    {"terminated", Style::kFinished},  {"stopped", Style::kFinished},
    {"failed", Style::kFailed},        {"error", Style::kFailed},
    {"no fleets", Style::kFailed},     {"unreachable", Style::kFailed},
    {"no capacity", Style::kNotice},   {"interrupted", Style::kNotice},
    {"aborted", Style::kNotice},
};

}  // namespace

std::string Paint(std::string_view text, Style style, bool has_color) {
  const std::string parameters = Parameters(style);
  if (!has_color || parameters.empty() || text.empty()) return std::string(text);
  return "\x1b[" + parameters + "m" + std::string(text) + "\x1b[0m";
}

Style StatusStyle(std::string_view status) {
  for (const auto& [text, style] : kStatusStyles) {
    if (status == text) return style;
  }
  if (status.substr(0, 8) == "exited (") return Style::kFailed;
  if (status.find("(unreachable)") != std::string_view::npos) return Style::kFailed;
  if (status.find(" busy") != std::string_view::npos) return Style::kChanging;
  if (status.substr(0, 7) == "pulling") return Style::kRunning;
  return Style::kPlain;
}

}  // namespace dstack::cli
