// dstack-shim as far as the installer knows it: takes --home, serves <home>/shim.sock, ends on
// SIGTERM.

#include <cstdio>
#include <cstring>
#include <string>

#include <signal.h>
#include <unistd.h>

#include "libs/process/signals.h"
#include "tests/contract/fakes/fake_host.h"

int main(int argc, char** argv) {
  std::string home;
  for (int i = 1; i + 1 < argc; ++i) {
    if (strcmp(argv[i], "--home") == 0) home = argv[i + 1];
  }
  if (getenv("FAKE_SHIM_FAILS") != nullptr || home.empty()) {
    fprintf(stderr, "cannot talk to the engine at %s\n", getenv("FAKE_SHIM_FAILS"));
    return 1;
  }
  auto signals = dstack::process::SignalWaiter::Create({SIGTERM});
  dstack::server::fakes::FakeHost host(home);
  host.SetScript({.lines = {"from the host\n"}});
  signals->WaitUntil();
  return 0;
}
