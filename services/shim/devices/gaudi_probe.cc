#include "services/shim/devices/gaudi_probe.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "services/shim/devices/gpu_text.h"

namespace dstack::shim {
namespace {

constexpr std::size_t kShortFields = 3;
constexpr std::size_t kFullFields = 6;
constexpr char kFormat[] = "--format=csv,noheader,nounits";

}  // namespace

std::vector<common::v1::Gpu> ParseHlSmi(std::string_view csv) {
  std::vector<common::v1::Gpu> gpus;
  for (const absl::string_view line :
       absl::StrSplit(base::ToAbsl(WholeLines(csv)), '\n', absl::SkipWhitespace())) {
    std::vector<std::string> fields = absl::StrSplit(line, ',');
    if (fields.size() != kShortFields && fields.size() != kFullFields) break;
    for (std::string& field : fields) field = KnownText(field);
    int index = 0;
    if (!absl::SimpleAtoi(fields[2], &index)) break;
    common::v1::Gpu gpu;
    gpu.set_vendor(common::v1::GPU_VENDOR_INTEL);
    gpu.set_name(GaudiName(fields[0]));
    gpu.set_memory_bytes(LeadingNumber(fields[1]) * kMebibyte);
    gpu.set_resource_id(fields[2]);
    if (fields.size() == kFullFields) {
      gpu.set_pci_address(PciAddress(fields[3]));
      gpu.set_driver_version(fields[4]);
      gpu.set_uuid(fields[5]);
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

bool GaudiProbe::IsPresent() const { return base::Exists(context_.Path("/dev/accel")); }

absl::StatusOr<DeviceList> GaudiProbe::Find(const std::stop_token& stop) {
  auto output = context_.tools.Run(
      {"hl-smi", "--query-aip=name,memory.total,index,bus_id,driver_version,uuid", kFormat}, stop);
  // Old versions know fewer fields.
  if (absl::IsFailedPrecondition(output.status())) {
    output = context_.tools.Run({"hl-smi", "--query-aip=name,memory.total,index", kFormat}, stop);
  }
  if (!output.ok()) return output.status();
  return DeviceList{.gpus = ParseHlSmi(*output)};
}

}  // namespace dstack::shim
