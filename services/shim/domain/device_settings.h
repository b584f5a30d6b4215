#pragma once

#include <string>
#include <vector>

#include "dstack/common/v1/resources.pb.h"

namespace dstack::shim {

// A file or directory of /dev, mapped with read, write and mknod.
struct DeviceMapping {
  std::string path_on_host;
  std::string path_in_container;

  bool operator==(const DeviceMapping&) const = default;
};

// A bind mount that a device needs.
struct DeviceBind {
  std::string source;
  std::string target;

  bool operator==(const DeviceBind&) const = default;
};

// Files of the host that matter beside the devices themselves.
struct DeviceFiles {
  bool has_infiniband = false;    // /dev/infiniband
  bool has_hugepages_1g = false;  // /dev/hugepages-1G, which Tenstorrent's driver wants

  bool operator==(const DeviceFiles&) const = default;
};

// What the create request of a container has to say so that its accelerators work inside.
struct DeviceSettings {
  // NVIDIA: one device request with these ids and one set of capabilities; none when empty.
  std::vector<std::string> nvidia_ids;
  std::vector<std::string> nvidia_capabilities;
  std::vector<DeviceMapping> devices;
  std::vector<DeviceBind> binds;
  std::vector<std::string> added_capabilities;  // without "CAP_", as the engine takes them
  std::vector<std::string> security_options;
  std::string runtime;           // empty: the engine's default
  std::string ipc_mode;          // empty: the engine's default
  std::vector<std::string> env;  // NAME=value
  bool is_privileged = false;    // or-ed with the task's own wish
  bool has_unlimited_memlock = false;

  bool operator==(const DeviceSettings&) const = default;
};

// Settings for these devices, which may be of several vendors; `gpus` is what the task holds, and
// may be empty. `with_display` asks for NVIDIA's capability "display", which needs
// /dev/nvidia-modeset. Pure.
DeviceSettings SettingsOf(const std::vector<common::v1::Gpu>& gpus,
                          const DeviceFiles& files,
                          bool with_display);

// The same for a task that names its device files: exactly these, and what InfiniBand needs.
DeviceSettings ExplicitSettings(const std::vector<DeviceMapping>& devices,
                                const DeviceFiles& files);

// Whether a failed start is worth a second try without "display": only with NVIDIA devices that
// were asked for by their ids, and only when the engine's text names the modeset device.
bool ShouldRetryWithoutDisplay(const DeviceSettings& settings, const std::string& error);

// Environment of a process without a container that holds these devices, as NAME=value: the
// variables by which each vendor's library picks devices.
std::vector<std::string> VisibleDevicesEnv(const std::vector<common::v1::Gpu>& gpus);

}  // namespace dstack::shim
