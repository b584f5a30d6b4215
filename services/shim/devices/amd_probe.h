#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// Cards of AMD: amd-smi, else rocm-smi, else what the kernel tells. A card is addressed by its
// render node; one whose node cannot be found is left out, and so is graphics built into a
// processor (less than 4 GiB of memory of its own), which would otherwise be taken for a card.
class AmdProbe final : public HostProbe {
 public:
  explicit AmdProbe(ProbeContext context) : HostProbe("amd", std::move(context)) {}

  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;

 private:
  absl::StatusOr<std::vector<common::v1::Gpu>> AskTools(const std::stop_token& stop) const;
  std::vector<common::v1::Gpu> AskKernel() const;
  std::string RenderNodeOf(const std::string& pci_address) const;
  // Whether at least one of them has a render node on this host.
  bool HasAny(const std::vector<common::v1::Gpu>& gpus) const;
  std::vector<v1::GpuLink> DirectLinks(const std::vector<common::v1::Gpu>& gpus) const;
};

// Reads `amd-smi static --json --asic --vram --bus --driver`: an array of cards, or an object with
// it in "gpu_data" (ROCm 7). Render nodes are not known here, nor the names of cards that the tool
// has no name for. INVALID_ARGUMENT: not JSON.
absl::StatusOr<std::vector<common::v1::Gpu>> ParseAmdSmi(std::string_view json);

// Reads `rocm-smi --showproductname --showmeminfo vram --showbus --showdriverversion --json
// [--showuniqueid]`: an object of cards, whose keys changed their case over the years.
absl::StatusOr<std::vector<common::v1::Gpu>> ParseRocmSmi(std::string_view json);

// Load of a card of AMD from sysfs below `root`; nothing for other makers' and absent cards.
std::optional<v1::GpuMetrics> SampleAmd(const std::string& root, const common::v1::Gpu& gpu);

// Driver of one card of amd-smi: "version", else "driver_version", in any case; empty for a wrong
// type or a placeholder. `json` is the text of the card's "driver" value.
std::string AmdDriverVersion(std::string_view json);

}  // namespace dstack::shim
