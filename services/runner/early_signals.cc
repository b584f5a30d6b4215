#include <csignal>
#include <string_view>

namespace dstack::runner {
namespace {

// The first process of a container loses every signal that comes before it holds it back or handles
// it, so this runs before anything else of the program: the initialisation of its libraries alone
// takes milliseconds. Only signals that are answered later are held back; the supervisor is the one
// that answers them.
__attribute__((constructor(101))) void HoldBackSignals(int argc, char** argv, char** /*envp*/) {
  bool is_supervisor = false;
  for (int i = 1; i < argc; ++i) is_supervisor |= std::string_view(argv[i]) == "supervise";
  if (!is_supervisor) return;
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&wanted, signal);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
}

}  // namespace
}  // namespace dstack::runner
