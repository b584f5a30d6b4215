#include "services/shim/devices/tpu_probe.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/strip.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "services/shim/devices/gpu_text.h"

namespace dstack::shim {
namespace {

namespace fs = std::filesystem;

constexpr char kGoogleVendorId[] = "0x1ae0";

struct Model {
  std::string_view device_id;
  std::string_view name;
  std::uint64_t gibibytes;  // of one chip
};

constexpr std::array<Model, 7> kModels = {{{"0x0027", "v3", 32},
                                           {"0x0056", "v4", 32},
                                           {"0x005e", "v4", 32},
                                           {"0x0062", "v5p", 95},
                                           {"0x0063", "v5e", 16},
                                           {"0x006f", "v6e", 32},
                                           {"0x0076", "v7", 192}}};

std::string Line(const std::string& path) {
  const std::string text = base::ReadFile(path).value_or("");
  return absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
}

const Model* ModelOf(const std::string& device_id) {
  const auto* model = std::find_if(kModels.begin(), kModels.end(), [&](const Model& candidate) {
    return candidate.device_id == device_id;
  });
  return model == kModels.end() ? nullptr : model;
}

}  // namespace

bool TpuProbe::IsPresent() const {
  return base::Exists(context_.Path("/dev/accel0")) || base::Exists(context_.Path("/dev/vfio/0"));
}

absl::StatusOr<DeviceList> TpuProbe::Find(const std::stop_token&) {
  std::vector<std::string> addresses;
  std::error_code error;
  const std::string bus = context_.Path("/sys/bus/pci/devices");
  for (fs::directory_iterator it(bus, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    addresses.push_back(it->path().filename());
  }
  std::sort(addresses.begin(), addresses.end());
  DeviceList list;
  for (const std::string& address : addresses) {
    // Google's other devices, such as its network card, have this maker's id too.
    if (Line(bus + "/" + address + "/vendor") != kGoogleVendorId) continue;
    const Model* model = ModelOf(Line(bus + "/" + address + "/device"));
    if (model == nullptr) continue;
    common::v1::Gpu& gpu = list.gpus.emplace_back();
    gpu.set_vendor(common::v1::GPU_VENDOR_GOOGLE);
    gpu.set_resource_id(std::to_string(list.gpus.size() - 1));
    gpu.set_name(std::string(model->name));
    gpu.set_memory_bytes(model->gibibytes * kGibibyte);
    gpu.set_pci_address(address);
  }
  return list;
}

}  // namespace dstack::shim
