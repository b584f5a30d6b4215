#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {

// A real dstack-shim with a home of its own. Ends it with the object; containers are the test's.
class ShimProcess {
 public:
  struct Settings {
    std::string runtime = "docker";
    std::string docker_host;  // of an engine; empty for the process runtime
    std::string base_image;
    bool has_ssh = false;
    std::string home;  // empty: a directory that goes with the object
    // Added to the environment, "NAME=value".
    std::vector<std::string> env = {};
    // Appended to the command line.
    std::vector<std::string> extra_args = {};
  };

  explicit ShimProcess(Settings settings);
  ~ShimProcess();

  // Starts it with these fail-points (see libs/failpoint) and waits until it serves, or until a
  // fail-point has ended it.
  void Start(const std::string& failpoints = "");
  // Waits for the end that a fail-point makes.
  void AwaitCrash();
  // SIGKILL.
  void Kill();
  // SIGTERM, as an init system does.
  process::Exit Stop();

  std::string Target() const { return "unix:" + home() + "/shim.sock"; }
  std::string home() const { return settings_.home.empty() ? dir_.Path("h") : settings_.home; }
  // Command line of one more shim on the same home.
  std::vector<std::string> Command() const;
  std::string shim_id() const;
  pid_t pid() const { return process_->pid(); }

 private:
  Settings settings_;
  testing::TempDir dir_;
  std::optional<process::Subprocess> process_;
};

// A task that runs the busybox image (docker) or a process.
v1::TaskSpec MakeTask(const std::string& image);

}  // namespace dstack::shim
