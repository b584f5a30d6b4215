// dstack-gpu-probe facts|watch [--nvml LIBRARY] [--dcgm LIBRARY]
//
// Speaks with NVIDIA's libraries for the shim, which is static and cannot open any. `facts` prints
// one line and leaves; `watch` prints facts, and then errors the moment the driver tells them,
// samples every second, and what DCGM finds, until it is killed or its reader goes away. Each line
// is a JSON object with a "type". Exit status 3: the library is not there or does not start. Where
// no flag names the libraries, DSTACK_NVML_LIBRARY and DSTACK_DCGM_LIBRARY do.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "services/shim/gpu_probe/dcgm.h"
#include "services/shim/gpu_probe/json_line.h"
#include "services/shim/gpu_probe/nvml.h"

namespace dstack::gpu_probe {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kExitUsage = 64;
constexpr int kExitNoLibrary = 3;
constexpr milliseconds kInterval{1000};
// Above this an error waits for the end of a sample at most.
constexpr unsigned kEventWaitMs = 100;

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

struct Arguments {
  bool is_watch = false;
  std::string nvml = FromEnvironment("DSTACK_NVML_LIBRARY", "libnvidia-ml.so.1");
  // Empty: libdcgm.so.4, else libdcgm.so.3.
  std::string dcgm = FromEnvironment("DSTACK_DCGM_LIBRARY", "");
};

bool Parse(int argc, char** argv, Arguments* arguments) {
  if (argc < 2) return false;
  const std::string verb = argv[1];
  arguments->is_watch = verb == "watch";
  if (verb != "facts" && verb != "watch") return false;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag != "--nvml" && flag != "--dcgm") return false;
    (flag == "--nvml" ? arguments->nvml : arguments->dcgm) = argv[i + 1];
  }
  return argc % 2 == 0;
}

// Its checks may take long, and must not hold up the driver's events.
void WatchDcgm(const Arguments& arguments, const Nvml& nvml) {
  Dcgm dcgm;
  std::string error;
  const bool is_open = arguments.dcgm.empty()
                           ? dcgm.Open("libdcgm.so.4", &error) || dcgm.Open("libdcgm.so.3", &error)
                           : dcgm.Open(arguments.dcgm, &error);
  if (!is_open) {
    PrintLine(JsonLine().Text("type", "no_dcgm").Text("message", error).Take());
    return;
  }
  while (true) {
    dcgm.Check([&nvml](std::size_t index) { return nvml.UuidOf(index); });
    std::this_thread::sleep_for(kInterval);
  }
}

[[noreturn]] void Watch(const Arguments& arguments, Nvml& nvml) {
  nvml.BeginEvents();
  std::thread(WatchDcgm, std::cref(arguments), std::cref(nvml)).detach();
  auto next = Clock::now();
  while (true) {
    if (Clock::now() >= next) {
      nvml.PrintSample();
      next = Clock::now() + kInterval;
    }
    nvml.WaitEvent(kEventWaitMs);
  }
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) {
    std::fprintf(stderr, "usage: dstack-gpu-probe facts|watch [--nvml LIBRARY] [--dcgm LIBRARY]\n");
    return kExitUsage;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  static Nvml nvml;
  std::string error;
  if (!nvml.Open(arguments.nvml, &error)) {
    std::fprintf(stderr, "dstack-gpu-probe: %s\n", error.c_str());
    return kExitNoLibrary;
  }
  nvml.PrintFacts();
  if (arguments.is_watch) Watch(arguments, nvml);
  return 0;
}

}  // namespace
}  // namespace dstack::gpu_probe

int main(int argc, char** argv) { return dstack::gpu_probe::Main(argc, argv); }
