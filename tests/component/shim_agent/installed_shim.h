#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "dstack/shim/v1/upgrade.pb.h"

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/shim_agent/shim_client.h"

namespace dstack::shim {

// Contents of the programs that a server brings to a host.
struct Programs {
  std::string shim;
  std::string runner;
};

// A program without what makes a debug build large.
std::string Stripped(const std::string& program);
// Those of this build. The runner fits into any container.
const Programs& ThesePrograms();
// Run as well as those, with other digests; the kernel does not look behind the last section.
Programs OtherPrograms();
// Another version of the product (next_version.h).
const Programs& NextPrograms();

// A shim as a server installs it: programs with digests in their names, and a supervisor.
class InstalledShim {
 public:
  struct Settings {
    std::string home;         // empty: a directory that goes with the object
    std::string docker_host;  // of an engine; empty for the process runtime
    std::vector<std::string> flags;
    // See bad_shim.cc.
    std::string bad_shim_mode;
  };

  explicit InstalledShim(Settings settings);
  InstalledShim() : InstalledShim(Settings{}) {}
  ~InstalledShim();

  std::string home() const { return settings_.home.empty() ? dir_.Path("h") : settings_.home; }
  std::string Target() const { return "unix:" + home() + "/shim.sock"; }
  // Where a program of this name and content lies.
  std::string Path(const std::string& name, const std::string& content) const;
  // Nothing while one gives way to another.
  std::optional<pid_t> ShimPid() const;
  std::string RunningProgram() const;

 private:
  std::string Install(const std::string& name, const std::string& content);

  const Settings settings_;
  testing::TempDir dir_;
  std::optional<process::Subprocess> supervisor_;
};

// The server's side: sends the programs, waits until they have arrived, and has them activated.
void Upgrade(ShimClient& client, const Programs& programs);
void Activate(ShimClient& client, const Programs& programs);
// A session with the shim that comes after the one that `client` talks to.
void Reconnect(std::optional<ShimClient>& client, const InstalledShim& shim);

}  // namespace dstack::shim
