#include "services/shim/domain/device_settings.h"

#include <algorithm>
#include <map>
#include <utility>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using common::v1::GpuVendor;

constexpr char kInfiniband[] = "/dev/infiniband";
constexpr char kHugepages1G[] = "/dev/hugepages-1G";
constexpr char kKfd[] = "/dev/kfd";

using ByVendor = std::map<GpuVendor, std::vector<std::string>>;

ByVendor IdsByVendor(const std::vector<Gpu>& gpus) {
  ByVendor ids;
  for (const Gpu& gpu : gpus) ids[gpu.vendor()].push_back(gpu.resource_id());
  return ids;
}

void MapSame(DeviceSettings* settings, const std::string& path) {
  settings->devices.push_back({path, path});
}

void AddNvidia(const std::vector<std::string>& ids, bool with_display, DeviceSettings* settings) {
  settings->nvidia_ids = ids;
  settings->nvidia_capabilities = {"gpu", "utility", "compute", "graphics", "video"};
  if (with_display) settings->nvidia_capabilities.emplace_back("display");
  settings->nvidia_capabilities.emplace_back("compat32");
}

void AddAmd(const std::vector<std::string>& render_nodes, DeviceSettings* settings) {
  MapSame(settings, kKfd);
  for (const std::string& node : render_nodes) MapSame(settings, node);
  settings->ipc_mode = "host";
  settings->added_capabilities.emplace_back("SYS_PTRACE");
  settings->security_options.emplace_back("seccomp=unconfined");
}

void AddGaudi(const std::vector<std::string>& indices, DeviceSettings* settings) {
  settings->runtime = "habana";
  settings->ipc_mode = "host";
  settings->added_capabilities.emplace_back("SYS_NICE");
  settings->env.push_back("HABANA_VISIBLE_DEVICES=" + absl::StrJoin(indices, ","));
}

void AddTenstorrent(const std::vector<std::string>& indices,
                    const DeviceFiles& files,
                    DeviceSettings* settings) {
  for (const std::string& index : indices) MapSame(settings, "/dev/tenstorrent/" + index);
  if (files.has_hugepages_1g) settings->binds.push_back({kHugepages1G, kHugepages1G});
}

// Google's library talks to the chips only with all privileges.
void AddTpu(DeviceSettings* settings) {
  settings->is_privileged = true;
  settings->env.emplace_back("PJRT_DEVICE=TPU");
}

void AddInfiniband(const DeviceFiles& files, DeviceSettings* settings) {
  if (!files.has_infiniband) return;
  MapSame(settings, kInfiniband);
  // Registered memory is locked.
  settings->has_unlimited_memlock = true;
}

}  // namespace

DeviceSettings SettingsOf(const std::vector<Gpu>& gpus,
                          const DeviceFiles& files,
                          bool with_display) {
  DeviceSettings settings;
  for (const auto& [vendor, ids] : IdsByVendor(gpus)) {
    switch (vendor) {
      case common::v1::GPU_VENDOR_NVIDIA:
        AddNvidia(ids, with_display, &settings);
        break;
      case common::v1::GPU_VENDOR_AMD:
        AddAmd(ids, &settings);
        break;
      case common::v1::GPU_VENDOR_INTEL:
        AddGaudi(ids, &settings);
        break;
      case common::v1::GPU_VENDOR_TENSTORRENT:
        AddTenstorrent(ids, files, &settings);
        break;
      case common::v1::GPU_VENDOR_GOOGLE:
        AddTpu(&settings);
        break;
      default:
        break;
    }
  }
  AddInfiniband(files, &settings);
  return settings;
}

DeviceSettings ExplicitSettings(const std::vector<DeviceMapping>& devices,
                                const DeviceFiles& files) {
  DeviceSettings settings{.devices = devices};
  AddInfiniband(files, &settings);
  return settings;
}

bool ShouldRetryWithoutDisplay(const DeviceSettings& settings, const std::string& error) {
  const auto& capabilities = settings.nvidia_capabilities;
  const bool has_display =
      std::find(capabilities.begin(), capabilities.end(), "display") != capabilities.end();
  return has_display && error.find("/dev/nvidia-modeset") != std::string::npos;
}

std::vector<std::string> VisibleDevicesEnv(const std::vector<Gpu>& gpus) {
  std::vector<std::string> env;
  const ByVendor all = IdsByVendor(gpus);
  // An empty value hides all: without a container the others' cards are in sight.
  if (all.count(common::v1::GPU_VENDOR_NVIDIA) == 0) env.emplace_back("CUDA_VISIBLE_DEVICES=");
  for (const auto& [vendor, ids] : all) {
    switch (vendor) {
      case common::v1::GPU_VENDOR_NVIDIA:
        env.push_back("CUDA_VISIBLE_DEVICES=" + absl::StrJoin(ids, ","));
        break;
      case common::v1::GPU_VENDOR_INTEL:
        env.push_back("HABANA_VISIBLE_DEVICES=" + absl::StrJoin(ids, ","));
        break;
      case common::v1::GPU_VENDOR_TENSTORRENT:
        env.push_back("TT_VISIBLE_DEVICES=" + absl::StrJoin(ids, ","));
        break;
      case common::v1::GPU_VENDOR_GOOGLE:
        env.emplace_back("PJRT_DEVICE=TPU");
        break;
      default:
        // AMD's library counts cards, and the number is not the render node's: nothing to say.
        break;
    }
  }
  return env;
}

}  // namespace dstack::shim
