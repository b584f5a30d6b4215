#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/base/clock.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// Runs the makers' tools. Thread-safe.
class DeviceTools {
 public:
  virtual ~DeviceTools() = default;
  // Standard output of a tool that ended with status 0. NOT_FOUND: there is no such tool;
  // DEADLINE_EXCEEDED and CANCELLED: it was killed; FAILED_PRECONDITION: it failed.
  virtual absl::StatusOr<std::string> Run(const std::vector<std::string>& argv,
                                          const std::stop_token& stop) const = 0;
};

// The tools of this host, also in the places that their packages use beside the PATH. `timeout` is
// the limit of one call: the first one after boot may load a driver.
std::unique_ptr<DeviceTools> HostTools(base::Duration timeout);

// Where a probe looks. `root` is put in front of all paths: empty for the host itself.
struct ProbeContext {
  const DeviceTools& tools;
  std::string root;

  std::string Path(const std::string& path) const { return root + path; }
};

// What the probes of all makers have.
class HostProbe : public DeviceProbe {
 public:
  std::string name() const override { return name_; }

 protected:
  HostProbe(std::string name, ProbeContext context)
      : context_(std::move(context)), name_(std::move(name)) {}

  const ProbeContext context_;

 private:
  const std::string name_;
};

}  // namespace dstack::shim
