#include "clients/cli/follow/status_line.h"

#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

constexpr std::string_view kFrames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
// To the first column, and the rest of the line removed.
constexpr std::string_view kErase = "\r\x1b[K";

}  // namespace

void StatusLine::Show(std::string_view text) {
  if (!terminal_.is_error_tty()) return;
  base::MutexLock lock(mutex_);
  if (is_closed_) return;
  text_ = Neutralise(text);
  Draw();
}

void StatusLine::Tick() {
  base::MutexLock lock(mutex_);
  if (is_closed_ || !is_drawn_) return;
  ++frame_;
  Draw();
}

void StatusLine::Hide() {
  base::MutexLock lock(mutex_);
  Erase();
}

void StatusLine::Close() {
  base::MutexLock lock(mutex_);
  if (is_closed_) return;
  Erase();
  is_closed_ = true;
}

void StatusLine::Draw() {
  const Screen screen = terminal_.ErrorScreen();
  const std::string frame(kFrames[frame_ % std::size(kFrames)]);
  const auto room = static_cast<size_t>(screen.width > 4 ? screen.width - 3 : 1);
  terminal_.PrintRaw(std::string(kErase) + Paint(frame, Style::kSuccess, screen.has_color) + " " +
                     Truncate(text_, room));
  is_drawn_ = true;
}

void StatusLine::Erase() {
  if (is_drawn_) terminal_.PrintRaw(kErase);
  is_drawn_ = false;
}

}  // namespace dstack::cli
