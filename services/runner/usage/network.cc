#include "services/runner/usage/network.h"

#include <string>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>

#include "libs/base/file.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

// Columns behind the name: received bytes and seven more, then sent bytes.
constexpr std::size_t kReceived = 0;
constexpr std::size_t kSent = 8;

}  // namespace

std::optional<NetworkBytes> ParseNetDev(std::string_view dev,
                                        const std::function<bool(std::string_view)>& is_hardware) {
  NetworkBytes sum;
  for (absl::string_view line : absl::StrSplit(base::ToAbsl(dev), '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (parts.size() != 2) continue;  // the two lines of titles
    const absl::string_view name = absl::StripAsciiWhitespace(parts[0]);
    const std::vector<absl::string_view> columns = absl::StrSplit(parts[1], ' ', absl::SkipEmpty());
    NetworkBytes one;
    if (name == "lo" || columns.size() <= kSent ||
        !absl::SimpleAtoi(columns[kReceived], &one.received) ||
        !absl::SimpleAtoi(columns[kSent], &one.sent)) {
      continue;
    }
    if (is_hardware(base::ToStd(name))) return std::nullopt;
    sum.received += one.received;
    sum.sent += one.sent;
  }
  return sum;
}

std::optional<NetworkBytes> SampleNetwork() {
  const auto dev = base::ReadFile("/proc/net/dev");
  if (!dev.ok()) return std::nullopt;
  return ParseNetDev(*dev, [](std::string_view name) {
    return base::Exists("/sys/class/net/" + std::string(name) + "/device");
  });
}

}  // namespace dstack::runner
