#include "services/runner/usage/gpu_sampler.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"
#include "services/runner/usage/gpu_csv.h"

namespace dstack::runner {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kToolLimit{10};
constexpr std::chrono::seconds kShortestPause{1};
// A tool may use a processor all the time it runs; it gets a tenth of one.
constexpr int kPausePerRun = 9;

using Parser = absl::StatusOr<std::vector<v1::GpuMetrics>> (*)(std::string_view);

struct Tool {
  std::vector<std::string> argv;
  Parser parse;
};

const std::vector<Tool>& Tools() {
  static const std::vector<Tool> kTools = {
      {{"nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits"},
       ParseNvidiaSmi},
      {{"amd-smi", "monitor", "-vu", "--csv"}, ParseAmdSmi},
      {{"hl-smi", "--query-aip=memory.used,utilization.aip", "--format=csv,noheader,nounits"},
       ParseHlSmi}};
  return kTools;
}

// The tool that this image has. The directories are those of the vendors' images and toolkits.
std::optional<Tool> FindTool() {
  for (Tool tool : Tools()) {
    for (const char* dir : {"/usr/bin/", "/usr/local/bin/", "/bin/", "/opt/rocm/bin/"}) {
      const std::string path = dir + tool.argv.front();
      if (access(path.c_str(), X_OK) != 0) continue;
      tool.argv.front() = path;
      return tool;
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<v1::GpuMetrics>> Ask(const Tool& tool, const std::stop_token& stop) {
  process::Options options;
  options.env = {"PATH=/usr/local/bin:/usr/bin:/bin:/opt/rocm/bin", "LC_ALL=C"};
  const auto output = process::RunChecked(tool.argv, kToolLimit, std::move(options), stop);
  if (!output.ok()) return output.status();
  return tool.parse(*output);
}

void Work(const std::stop_token& stop, const Tool& tool, const GpuSampler::OnSample& on_sample) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  bool was_good = true;
  while (!stop.stop_requested()) {
    const auto start = steady_clock::now();
    auto sample = Ask(tool, stop);
    if (!sample.ok() && was_good && !stop.stop_requested()) {
      telemetry::Warn("use of accelerators is not known",
                      {{"tool", tool.argv.front()}, {"error", sample.status()}});
    }
    was_good = sample.ok();
    on_sample(sample.ok() ? *std::move(sample) : std::vector<v1::GpuMetrics>());
    const auto pause = std::max<steady_clock::duration>(
        kShortestPause, (steady_clock::now() - start) * kPausePerRun);
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, pause, [] { return false; });
  }
}

}  // namespace

std::unique_ptr<GpuSampler> GpuSampler::Start(OnSample on_sample) {
  std::optional<Tool> tool = FindTool();
  if (!tool) return nullptr;
  return std::unique_ptr<GpuSampler>(new GpuSampler(
      std::jthread([tool = *std::move(tool), on_sample = std::move(on_sample)](
                       const std::stop_token& stop) { Work(stop, tool, on_sample); })));
}

}  // namespace dstack::runner
