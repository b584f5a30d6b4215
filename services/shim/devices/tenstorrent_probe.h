#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// Tenstorrent: tt-smi, else what the driver tells in sysfs.
class TenstorrentProbe final : public HostProbe {
 public:
  explicit TenstorrentProbe(ProbeContext context) : HostProbe("tenstorrent", std::move(context)) {}

  bool IsPresent() const override;
  absl::StatusOr<DeviceList> Find(const std::stop_token& stop) override;

 private:
  std::vector<common::v1::Gpu> AskKernel() const;
  void Complete(std::vector<common::v1::Gpu>* gpus) const;
};

// Reads the snapshot of `tt-smi -s`. Chips that are reached only through another one (the right
// chip of an n300, a remote chip of a p300) add their memory to that one's card. The index, by
// which /dev/tenstorrent/<index> is addressed, is the place in the list. INVALID_ARGUMENT: not
// JSON; an object without a list has no cards.
absl::StatusOr<std::vector<common::v1::Gpu>> ParseTtSmi(std::string_view json);

// Version of the driver from its file below `root`; empty when it is not there.
std::string TenstorrentDriverVersion(const std::string& root);

}  // namespace dstack::shim
