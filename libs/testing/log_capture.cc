#include "libs/testing/log_capture.h"

#include <algorithm>
#include <memory>
#include <mutex>

namespace dstack::testing {

struct LogCapture::Lines {
  std::mutex mutex;
  std::vector<std::string> all;
};

LogCapture::LogCapture()
    : lines_(std::make_shared<Lines>()), sink_([lines = lines_](std::string_view line) {
        std::lock_guard lock(lines->mutex);
        lines->all.emplace_back(line);
      }) {}

LogCapture::~LogCapture() = default;

std::vector<std::string> LogCapture::lines() const {
  std::lock_guard lock(lines_->mutex);
  return lines_->all;
}

bool LogCapture::Contains(std::string_view text) const {
  const std::vector<std::string> all = lines();
  return std::any_of(all.begin(), all.end(), [text](const std::string& line) {
    return line.find(text) != std::string::npos;
  });
}

}  // namespace dstack::testing
