// Prints the monotonic clock in nanoseconds, a line every 20 ms; the argument says how many lines.
// Statically linked: it is the whole image.
#include <cstdio>
#include <cstdlib>
#include <ctime>

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 100;
  for (int i = 0; i < count; ++i) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    std::printf("%lld%09ld\n", static_cast<long long>(now.tv_sec), now.tv_nsec);
    std::fflush(stdout);
    const timespec pause{0, 20'000'000};
    nanosleep(&pause, nullptr);
  }
}
