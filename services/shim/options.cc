#include "services/shim/options.h"

#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "libs/base/version.h"
#include "services/shim/domain/shim_home.h"

namespace dstack::shim {
namespace {

// The runner lies beside the shim unless said otherwise.
std::string DefaultRunner() {
  char path[PATH_MAX] = {};
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (size <= 0) return "/usr/local/bin/dstack-runner";
  return std::filesystem::path(path).replace_filename("dstack-runner").string();
}

std::string Absolute(const std::string& path) {
  if (path.empty()) return path;
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::string CheckHome(const std::string& home) {
  if (Absolute(home).size() <= kMaxHomeBytes) return "";
  return fmt::format("'{}' is longer than {} bytes, which leaves no room for the sockets below it",
                     home,
                     kMaxHomeBytes);
}

void AddImageOptions(CLI::App& app, Options& options) {
  app.add_option("--pull-attempts",
                 options.pull_attempts,
                 "Tries of a pull that fails in a way that may pass")
      ->check(CLI::Range(1, 100))
      ->take_last()
      ->capture_default_str();
  app.add_option("--pull-stall-limit",
                 options.pull_stall_s,
                 "Seconds after which a pull that brings nothing is given up")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  app.add_option_function<int>(
         "--image-max-unused-hours",
         [&options](int hours) { options.image_policy.max_unused = std::chrono::hours(hours); },
         "Remove pulled images that no task has used for so long; 0: never (default: 336)")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--image-min-free-percent",
                 options.image_policy.min_free_percent,
                 "Remove the least recently used of them while less of the disk is free; 0: never")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app.add_option("--image-max-bytes",
                 options.image_policy.max_bytes,
                 "Remove the least recently used of them above this sum; 0: no limit")
      ->capture_default_str();
}

}  // namespace

Options ParseOptions(int argc, char** argv) {
  CLI::App app("Agent of a host: runs tasks in containers", "dstack-shim");
  Options options;
  options.runner_binary = DefaultRunner();
  app.set_version_flag("--version", std::string(base::Version()));
  app.add_option("--home", options.home, "Directory of all that the shim keeps")
      ->required()
      ->check(CheckHome);
  app.add_option("--runner-binary", options.runner_binary, "The static dstack-runner")
      ->check(CLI::ExistingFile)
      ->capture_default_str();
  app.add_option("--ssh-bundle-dir",
                 options.ssh_bundle_dir,
                 "Relocatable OpenSSH for the jobs (default: jobs without sshd)")
      ->check(CLI::ExistingDirectory);
  const std::map<std::string, RuntimeChoice> runtimes = {{"auto", RuntimeChoice::kAuto},
                                                         {"docker", RuntimeChoice::kDocker},
                                                         {"process", RuntimeChoice::kProcess}};
  app.add_option("--runtime",
                 options.runtime,
                 "docker, process, or auto: Docker if an engine answers at the first start")
      ->transform(CLI::CheckedTransformer(runtimes));
  app.add_option("--base-image", options.base_image, "Image of tasks that name none");
  AddImageOptions(app, options);
  app.add_option("--volumes-dir", options.volumes_dir, "Where disks are mounted for tasks")
      ->capture_default_str();
  app.add_option("--device-root",
                 options.device_root,
                 "Look for accelerators below this directory in place of / (for tests)")
      ->check(CLI::ExistingDirectory);
  app.add_option("--log-level", options.log_level, "debug, info, warning, error or off")
      ->check([](const std::string& text) {
        const auto level = telemetry::ParseLevel(text);
        return level.ok() ? "" : std::string(level.status().message());
      })
      ->capture_default_str();
  app.add_flag("--supervise",
               options.is_supervisor,
               "Run the shim as a child and start it again when it dies");
  app.add_option("--trial-limit",
                 options.trial_limit_s,
                 "Seconds after which a new shim that does not serve is replaced by the old one")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : kExitUsage);
  }
  options.home = Absolute(options.home);
  options.runner_binary = Absolute(options.runner_binary);
  options.ssh_bundle_dir = Absolute(options.ssh_bundle_dir);
  return options;
}

}  // namespace dstack::shim
