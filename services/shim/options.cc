#include "services/shim/options.h"

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
  app.add_option("--log-level", options.log_level, "debug, info, warning, error or off")
      ->check([](const std::string& text) {
        const auto level = telemetry::ParseLevel(text);
        return level.ok() ? "" : std::string(level.status().message());
      })
      ->capture_default_str();
  app.add_flag("--supervise",
               options.is_supervisor,
               "Run the shim as a child and start it again when it dies");
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
