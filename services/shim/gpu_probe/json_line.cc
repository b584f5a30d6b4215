#include "services/shim/gpu_probe/json_line.h"

#include <cerrno>
#include <cstdio>
#include <mutex>

#include <unistd.h>

namespace dstack::gpu_probe {
namespace {

std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte > 0x7e) {
      // What the driver says is ASCII; anything else is not worth a broken document.
      quoted += '?';
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

void JsonLine::Key(const char* key) {
  if (text_.size() > 1) text_ += ",";
  text_ += Quote(key) + ":";
}

JsonLine& JsonLine::Text(const char* key, const std::string& value) {
  Key(key);
  text_ += Quote(value);
  return *this;
}

JsonLine& JsonLine::Number(const char* key, std::uint64_t value) {
  Key(key);
  text_ += std::to_string(value);
  return *this;
}

JsonLine& JsonLine::Decimal(const char* key, double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.3f", value);
  Key(key);
  text_ += buffer;
  return *this;
}

JsonLine& JsonLine::Raw(const char* key, const std::string& value) {
  Key(key);
  text_ += value;
  return *this;
}

void PrintLine(const std::string& line) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const std::string whole = line + "\n";
  std::size_t done = 0;
  while (done < whole.size()) {
    const ssize_t written = ::write(STDOUT_FILENO, whole.data() + done, whole.size() - done);
    if (written < 0 && errno == EINTR) continue;
    // The shim is gone, or starts another one of us. Without destructors: threads still run.
    if (written <= 0) ::_exit(0);
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace dstack::gpu_probe
