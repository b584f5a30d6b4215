// Stands in for dstack-runner where only its place in a container matters: a supervisor that runs
// until it is told how to end.
//
//   fake_runner supervise --task-dir DIR ...   writes DIR/up, then waits: for the file DIR/exit
//   with
//                                              a number (ends with it), or for SIGTERM (ends with
//                                              0)
// With a file DIR/stubborn it ignores SIGTERM and starts a child that does too.
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

namespace {

volatile std::sig_atomic_t g_is_terminated = 0;

bool Exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

std::string TaskDir(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--task-dir") == 0) return argv[i + 1];
  }
  return ".";
}

int WaitForOrders(const std::string& dir) {
  while (true) {
    if (g_is_terminated != 0) return 0;
    int status = 0;
    if (std::ifstream(dir + "/exit") >> status) return status;
    ::usleep(5000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string dir = TaskDir(argc, argv);
  if (Exists(dir + "/stubborn")) {
    std::signal(SIGTERM, SIG_IGN);
    if (::fork() == 0) {
      ::setsid();
      while (true) ::pause();
    }
  } else {
    std::signal(SIGTERM, [](int) { g_is_terminated = 1; });
  }
  std::ofstream(dir + "/up") << ::getpid();
  const int status = WaitForOrders(dir);
  std::ofstream(dir + "/supervisor_exit") << status;
  return status;
}
