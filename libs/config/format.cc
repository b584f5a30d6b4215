#include "libs/config/format.h"

#include <vector>

#include <fmt/format.h>

#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

constexpr int64_t kDefaultRetrySeconds = 3600;

// `gpu=0..` and `gpu=0` say that none is needed.
bool AsksForGpu(const v1::GpuSpec& gpu) {
  if (gpu.has_memory() || gpu.has_total_memory() || gpu.has_compute_capability()) return true;
  if (gpu.name_size() > 0) return true;
  return gpu.count().min() > 0 || (gpu.count().has_max() && gpu.count().max() > 0);
}

}  // namespace

std::string FormatResources(const v1::Resources& resources) {
  std::vector<std::string> parts;
  const std::string cpu = FormatCpu(resources.cpu());
  const std::string memory = FormatMemoryRange(resources.memory());
  const std::string disk = FormatMemoryRange(resources.disk().size());
  if (!cpu.empty()) parts.push_back("cpu=" + cpu);
  if (!memory.empty()) parts.push_back("mem=" + memory);
  if (!disk.empty()) parts.push_back("disk=" + disk);
  if (AsksForGpu(resources.gpu())) parts.push_back("gpu=" + FormatGpu(resources.gpu()));
  return Join(parts, " ");
}

std::string FormatRetry(const v1::ProfileParams& params) {
  if (!params.retry().enabled()) return "off";
  const v1::RetryPolicy& retry = params.retry();
  std::vector<std::string> events;
  for (const int event : retry.on_events()) {
    events.push_back(EnumWord(static_cast<v1::RetryEvent>(event)));
  }
  if (events.empty()) events = EnumWords(*v1::RetryEvent_descriptor());
  const int64_t seconds = retry.has_duration() ? retry.duration().seconds() : kDefaultRetrySeconds;
  return fmt::format("{}[{}]", FormatDuration(seconds), Join(events, ", "));
}

std::string FormatSpotPolicy(v1::SpotPolicy policy) {
  return policy == v1::SPOT_POLICY_UNSPECIFIED ? "on-demand" : EnumWord(policy);
}

std::string FormatPrice(double dollars_per_hour) {
  std::string text = fmt::format("{:.4f}", dollars_per_hour);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return "$" + text;
}

}  // namespace dstack::config
