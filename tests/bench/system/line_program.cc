// Writes lines, as the only program of an image.
//
//   line_program clock COUNT PAUSE_MS   the time of each line, nanoseconds since the epoch
//   line_program flood COUNT BYTES      numbers from 1, each line (with its newline) so long
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <time.h>
#include <unistd.h>

namespace {

constexpr std::size_t kFloodPiece = 64 << 10;

void Write(const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = write(STDOUT_FILENO, data, size);
    if (written <= 0) std::exit(1);
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

void Clock(int count, int pause_ms) {
  const timespec pause{.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1'000'000L};
  for (int i = 0; i < count; ++i) {
    nanosleep(&pause, nullptr);
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    char line[32];
    const int size = std::snprintf(line,
                                   sizeof(line),
                                   "%" PRId64 "\n",
                                   std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
    Write(line, static_cast<std::size_t>(size));
  }
}

void Flood(int count, int bytes) {
  std::string text;
  std::string line(static_cast<std::size_t>(bytes), '\n');
  for (int i = 1; i <= count; ++i) {
    std::snprintf(line.data(), line.size(), "%0*d", bytes - 1, i);
    line.back() = '\n';
    text += line;
    if (text.size() < kFloodPiece && i < count) continue;
    Write(text.data(), text.size());
    text.clear();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int count = std::atoi(argv[2]);
  const int detail = std::atoi(argv[3]);
  if (std::strcmp(argv[1], "clock") == 0) {
    Clock(count, detail);
  } else {
    Flood(count, detail);
  }
  return 0;
}
