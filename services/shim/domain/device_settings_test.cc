#include "services/shim/domain/device_settings.h"

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

using Words = std::vector<std::string>;

common::v1::Gpu MakeGpu(common::v1::GpuVendor vendor, const std::string& id) {
  common::v1::Gpu gpu;
  gpu.set_vendor(vendor);
  gpu.set_resource_id(id);
  return gpu;
}

const std::vector<common::v1::Gpu> kNvidia = {
    MakeGpu(common::v1::GPU_VENDOR_NVIDIA, "GPU-1"),
    MakeGpu(common::v1::GPU_VENDOR_NVIDIA, "GPU-2"),
};

TEST_CASE("S19 an NVIDIA request carries the ids, one capability set and no environment") {
  const DeviceSettings settings = SettingsOf(kNvidia, {}, true);
  DeviceSettings expected;
  expected.nvidia_ids = {"GPU-1", "GPU-2"};
  expected.nvidia_capabilities = {
      "gpu", "utility", "compute", "graphics", "video", "display", "compat32"};
  CHECK(settings == expected);
}

TEST_CASE("S20 the capability list with and without display") {
  CHECK(SettingsOf(kNvidia, {}, true).nvidia_capabilities ==
        Words{"gpu", "utility", "compute", "graphics", "video", "display", "compat32"});
  CHECK(SettingsOf(kNvidia, {}, false).nvidia_capabilities ==
        Words{"gpu", "utility", "compute", "graphics", "video", "compat32"});
}

TEST_CASE("S21 only an NVIDIA start that misses the modeset device is tried again") {
  const std::string modeset = "failed to add device: /dev/nvidia-modeset: no such file";
  const DeviceSettings nvidia = SettingsOf(kNvidia, {}, true);
  CHECK(ShouldRetryWithoutDisplay(nvidia, modeset));
  CHECK_FALSE(ShouldRetryWithoutDisplay(nvidia, "no space left on device"));
  CHECK_FALSE(ShouldRetryWithoutDisplay(nvidia, ""));
  // Once: the second try has no display to give up.
  CHECK_FALSE(ShouldRetryWithoutDisplay(SettingsOf(kNvidia, {}, false), modeset));
  const auto amd =
      SettingsOf({MakeGpu(common::v1::GPU_VENDOR_AMD, "/dev/dri/renderD128")}, {}, true);
  CHECK_FALSE(ShouldRetryWithoutDisplay(amd, modeset));
  CHECK_FALSE(
      ShouldRetryWithoutDisplay(ExplicitSettings({{"/dev/nvidia0", "/dev/nvidia0"}}, {}), modeset));
}

TEST_CASE("settings of AMD, Gaudi, Tenstorrent and TPU") {
  const auto amd =
      SettingsOf({MakeGpu(common::v1::GPU_VENDOR_AMD, "/dev/dri/renderD129")}, {}, true);
  CHECK(amd.devices == std::vector<DeviceMapping>{{"/dev/kfd", "/dev/kfd"},
                                                  {"/dev/dri/renderD129", "/dev/dri/renderD129"}});
  CHECK(amd.ipc_mode == "host");
  CHECK(amd.added_capabilities == Words{"SYS_PTRACE"});
  CHECK(amd.security_options == Words{"seccomp=unconfined"});

  const auto gaudi = SettingsOf(
      {MakeGpu(common::v1::GPU_VENDOR_INTEL, "3"), MakeGpu(common::v1::GPU_VENDOR_INTEL, "5")},
      {},
      true);
  CHECK(gaudi.runtime == "habana");
  CHECK(gaudi.ipc_mode == "host");
  CHECK(gaudi.added_capabilities == Words{"SYS_NICE"});
  CHECK(gaudi.env == Words{"HABANA_VISIBLE_DEVICES=3,5"});
  CHECK(gaudi.devices.empty());

  const std::vector<common::v1::Gpu> cards = {MakeGpu(common::v1::GPU_VENDOR_TENSTORRENT, "2")};
  const auto with = SettingsOf(cards, {.has_hugepages_1g = true}, true);
  CHECK(with.devices == std::vector<DeviceMapping>{{"/dev/tenstorrent/2", "/dev/tenstorrent/2"}});
  CHECK(with.binds == std::vector<DeviceBind>{{"/dev/hugepages-1G", "/dev/hugepages-1G"}});
  CHECK(SettingsOf(cards, {}, true).binds.empty());

  const auto tpu = SettingsOf({MakeGpu(common::v1::GPU_VENDOR_GOOGLE, "0")}, {}, true);
  CHECK(tpu.is_privileged);
  CHECK(tpu.env == Words{"PJRT_DEVICE=TPU"});
  CHECK(tpu.devices.empty());
}

TEST_CASE("named device files replace what the vendor would get; InfiniBand comes with any") {
  const auto settings = ExplicitSettings({{"/dev/nvidia0", "/dev/gpu"}}, {.has_infiniband = true});
  CHECK(settings.devices == std::vector<DeviceMapping>{{"/dev/nvidia0", "/dev/gpu"},
                                                       {"/dev/infiniband", "/dev/infiniband"}});
  CHECK(settings.has_unlimited_memlock);
  CHECK(settings.nvidia_ids.empty());
  // Also without any accelerator.
  CHECK(SettingsOf({}, {.has_infiniband = true}, true).has_unlimited_memlock);
  CHECK(SettingsOf({}, {}, true) == DeviceSettings{});
}

TEST_CASE("a process sees its devices by the variables of each vendor") {
  std::vector<common::v1::Gpu> gpus = kNvidia;
  gpus.push_back(MakeGpu(common::v1::GPU_VENDOR_AMD, "/dev/dri/renderD128"));
  gpus.push_back(MakeGpu(common::v1::GPU_VENDOR_TENSTORRENT, "1"));
  CHECK(VisibleDevicesEnv({}) == Words{"CUDA_VISIBLE_DEVICES="});
  CHECK(VisibleDevicesEnv(gpus) ==
        Words{"CUDA_VISIBLE_DEVICES=GPU-1,GPU-2", "TT_VISIBLE_DEVICES=1"});
}

}  // namespace
}  // namespace dstack::shim
