#include "services/shim/adapters/nvidia_probe.h"

#include <chrono>
#include <string>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

// The first call after boot loads the driver, which takes seconds with many cards.
constexpr std::chrono::seconds kTimeout{30};
constexpr std::size_t kFields = 5;
constexpr std::uint64_t kMebibyte = 1 << 20;

// Words that mean "not known" in the tool's output.
std::string Known(const std::string& text) {
  static constexpr const char* kPlaceholders[] = {
      "N/A", "[N/A]", "Unknown", "[Unknown]", "[Not Supported]", "Not Supported"};
  for (const char* placeholder : kPlaceholders) {
    if (absl::EqualsIgnoreCase(text, placeholder)) return "";
  }
  return text;
}

// "NVIDIA A100-SXM4-40GB" and "Tesla T4" without the maker's words.
std::string ShortName(std::string name) {
  for (const char* word : {"NVIDIA ", "Tesla ", "GeForce ", "Quadro "}) {
    const std::string_view prefix(word);
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  }
  return name;
}

}  // namespace

std::vector<common::v1::Gpu> ParseNvidiaSmi(std::string_view csv) {
  std::vector<common::v1::Gpu> gpus;
  for (const absl::string_view line :
       absl::StrSplit(base::ToAbsl(csv), '\n', absl::SkipWhitespace())) {
    std::vector<std::string> fields = absl::StrSplit(line, ',');
    if (fields.size() != kFields) break;
    for (std::string& field : fields) absl::StripAsciiWhitespace(&field);
    common::v1::Gpu gpu;
    gpu.set_vendor(common::v1::GPU_VENDOR_NVIDIA);
    gpu.set_name(ShortName(fields[0]));
    std::uint64_t mebibytes = 0;
    if (absl::SimpleAtoi(fields[1], &mebibytes)) gpu.set_memory_bytes(mebibytes * kMebibyte);
    gpu.set_resource_id(fields[2]);
    gpu.set_driver_version(Known(fields[3]));
    gpu.set_pci_address(Known(fields[4]));
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::vector<common::v1::Gpu> NvidiaProbe::Probe() {
  // In WSL the driver has no device of its own and the tool is not on the PATH.
  const std::string wsl_tool = "/usr/lib/wsl/lib/nvidia-smi";
  const bool is_wsl = base::Exists("/dev/dxg") && base::Exists(wsl_tool);
  if (!base::Exists("/dev/nvidiactl") && !is_wsl) return {};
  const auto output =
      process::RunChecked({is_wsl ? wsl_tool : "nvidia-smi",
                           "--query-gpu=name,memory.total,uuid,driver_version,pci.bus_id",
                           "--format=csv,noheader,nounits"},
                          kTimeout);
  if (!output.ok()) {
    telemetry::Warn("the host has NVIDIA devices, but its tool fails",
                    {{"status", output.status()}});
    return {};
  }
  return ParseNvidiaSmi(*output);
}

}  // namespace dstack::shim
