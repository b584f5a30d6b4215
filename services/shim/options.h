#pragma once

#include <string>

#include "libs/telemetry/log.h"

namespace dstack::shim {

enum class RuntimeChoice { kAuto, kDocker, kProcess };

struct Options {
  std::string home;           // absolute
  std::string runner_binary;  // absolute
  std::string ssh_bundle_dir;
  RuntimeChoice runtime = RuntimeChoice::kAuto;
  std::string base_image;
  std::string log_level = "info";
  // Keep a child with the other flags running instead of being the shim.
  bool is_supervisor = false;
};

// Parses the command line. Help, --version and errors are printed and end the process (0, 0, 64).
Options ParseOptions(int argc, char** argv);

inline constexpr int kExitUsage = 64;

}  // namespace dstack::shim
