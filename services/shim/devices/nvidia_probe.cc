#include "services/shim/devices/nvidia_probe.h"

#include <variant>
#include <vector>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/shim/devices/nvidia_smi.h"
#include "services/shim/devices/probe_lines.h"

namespace dstack::shim {

bool NvidiaProbe::IsPresent() const {
  return base::Exists(context_.Path("/dev/nvidiactl")) ||
         (base::Exists(context_.Path("/dev/dxg")) &&
          base::Exists(context_.Path("/usr/lib/wsl/lib/nvidia-smi")));
}

absl::StatusOr<DeviceList> NvidiaProbe::Find(const std::stop_token& stop) {
  auto devices = AskLibrary(stop);
  if (devices.ok() || absl::IsCancelled(devices.status())) return devices;
  telemetry::Debug("NVIDIA's library cannot be asked; using its tool",
                   {{"status", devices.status()}});
  return AskNvidiaSmi(context_.tools, stop);
}

absl::StatusOr<DeviceList> NvidiaProbe::AskLibrary(const std::stop_token& stop) const {
  if (program_.empty()) return absl::NotFoundError("there is no helper program");
  std::vector<std::string> argv = program_;
  argv.insert(argv.begin() + 1, "facts");
  ASSIGN_OR_RETURN(const std::string output, context_.tools.Run(argv, stop));
  ASSIGN_OR_RETURN(ProbeLine line, ParseProbeLine(output));
  auto* facts = std::get_if<ProbeFacts>(&line);
  if (facts == nullptr) return base::Invalid("the helper program told no facts");
  // A driver whose cards the library cannot reach: perhaps the tool explains it.
  if (facts->devices.gpus.empty()) return absl::NotFoundError("the library knows no card");
  return std::move(facts->devices);
}

}  // namespace dstack::shim
