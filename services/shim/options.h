#pragma once

#include <string>

#include "libs/telemetry/log.h"
#include "services/shim/domain/image_policy.h"

namespace dstack::shim {

enum class RuntimeChoice { kAuto, kDocker, kProcess };

struct Options {
  std::string home;           // absolute
  std::string runner_binary;  // absolute
  std::string ssh_bundle_dir;
  RuntimeChoice runtime = RuntimeChoice::kAuto;
  std::string base_image;
  std::string log_level = "info";
  // How often a pull is tried that fails in a way that may pass.
  int pull_attempts = 5;
  // A pull that brings nothing for so long is given up.
  int pull_stall_s = 600;
  ImagePolicy image_policy;
  // Where disks are mounted, each below its name.
  std::string volumes_dir = "/mnt/disks/dstack-volumes";
  // In front of all paths at which accelerators are looked for; empty: the host's own.
  std::string device_root;
  // Keep a child with the other flags running instead of being the shim.
  bool is_supervisor = false;
  // How long the supervisor waits for a new shim to serve.
  int trial_limit_s = 90;
};

// Parses the command line. Help, --version and errors are printed and end the process (0, 0, 64).
Options ParseOptions(int argc, char** argv);

inline constexpr int kExitUsage = 64;
// Another shim runs on the home.
inline constexpr int kExitHomeTaken = 69;
// The shim left for its supervisor to start the components of the release file.
inline constexpr int kExitRestart = 75;

}  // namespace dstack::shim
