#include "services/shim/host_watch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "libs/telemetry/log.h"
#include "services/shim/devices/amd_probe.h"
#include "services/shim/devices/gaudi_probe.h"
#include "services/shim/devices/nvidia_probe.h"
#include "services/shim/devices/probe_program.h"
#include "services/shim/devices/tenstorrent_probe.h"
#include "services/shim/devices/tpu_probe.h"
#include "services/shim/host/facts.h"

namespace dstack::shim {
namespace {

// The first call after boot loads the driver, which takes long with many cards.
constexpr std::chrono::seconds kToolTimeout{60};

// The helper program of NVIDIA's probe with its arguments; empty where it cannot be written.
std::vector<std::string> HelperProgram(const std::string& path) {
  auto installed = InstallProbe(path);
  if (installed.ok()) return {*std::move(installed)};
  telemetry::Warn("the helper program cannot be written", {{"status", installed.status()}});
  return {};
}

std::vector<std::unique_ptr<DeviceProbe>> AllProbes(const DeviceTools& tools,
                                                    const std::string& program_path,
                                                    const std::string& root) {
  const ProbeContext context{tools, root};
  std::vector<std::unique_ptr<DeviceProbe>> probes;
  // Written only where there is something for it to ask.
  const bool has_nvidia = NvidiaProbe(context, {}).IsPresent();
  probes.push_back(std::make_unique<NvidiaProbe>(
      context, has_nvidia ? HelperProgram(program_path) : std::vector<std::string>()));
  probes.push_back(std::make_unique<TenstorrentProbe>(context));
  probes.push_back(std::make_unique<AmdProbe>(context));
  probes.push_back(std::make_unique<GaudiProbe>(context));
  probes.push_back(std::make_unique<TpuProbe>(context));
  return probes;
}

}  // namespace

HostWatch::HostWatch(const ShimHome& home, const std::string& device_root, GpuLedger& ledger)
    : ledger_(ledger), program_path_(home.root() + "/gpu-probe"), tools_(HostTools(kToolTimeout)) {
  monitor_ = std::make_unique<DeviceMonitor>(
      AllProbes(*tools_, program_path_, device_root),
      DeviceMonitor::Settings{.root = device_root, .memory_file = home.root() + "/devices.pb"});
  monitor_->Start([this] { OnDevices(); });
  OnDevices();
}

HostWatch::~HostWatch() {
  {
    base::MutexLock lock(apply_mutex_);
    is_closing_ = true;
  }
  // Nobody makes another one now. Its lines go to the monitor.
  nvidia_.reset();
  monitor_.reset();
}

void HostWatch::Measure(ContainerRuntime& runtime,
                        std::function<std::vector<v1::TaskStatus>()> tasks,
                        exec::Executor& steps,
                        const base::Clock& clock) {
  host_meter_.emplace(runtime.facts().data_dir, clock);
  task_meter_.emplace(
      TaskMeter::Source{.tasks = std::move(tasks),
                        .pid_of = [&runtime](const std::string& task_id) -> std::int64_t {
                          const auto container = runtime.Inspect(task_id);
                          return container.ok() ? container->pid : 0;
                        },
                        .gpus = [this] { return GpuSamples(); }},
      steps,
      "");
}

void HostWatch::SetListener(std::function<void()> listener) {
  base::MutexLock lock(mutex_);
  listener_ = std::move(listener);
}

void HostWatch::OnDevices() {
  {
    base::MutexLock lock(apply_mutex_);
    if (is_closing_) return;
    DeviceState state = monitor_->Current();
    ledger_.SetDevices(state.gpus, std::move(state.links));
    const bool has_nvidia =
        std::any_of(state.gpus.begin(), state.gpus.end(), [](const common::v1::Gpu& gpu) {
          return gpu.vendor() == common::v1::GPU_VENDOR_NVIDIA;
        });
    if (has_nvidia && !state.is_probing && !nvidia_) {
      nvidia_ =
          std::make_unique<NvidiaWatch>(std::vector<std::string>{program_path_},
                                        [this](const ProbeLine& line) { monitor_->OnLine(line); });
    }
  }
  std::function<void()> listener;
  {
    base::MutexLock lock(mutex_);
    listener = listener_;
  }
  if (listener) listener();
}

void HostWatch::Refresh() {
  monitor_->Refresh();
  std::unique_ptr<NvidiaWatch> watch;
  {
    base::MutexLock lock(apply_mutex_);
    if (is_closing_) return;
    watch = std::move(nvidia_);
  }
  // Watches the cards of its own start. Ended without the lock, which its last lines need.
  watch.reset();
  OnDevices();
}

v1::HostFacts HostWatch::Facts(const RuntimeFacts& runtime) const {
  const DeviceState devices = monitor_->Current();
  v1::HostFacts facts = ReadHostFacts(runtime, devices.gpus);
  for (const v1::GpuLink& link : devices.links) *facts.add_gpu_links() = link;
  facts.set_is_probing(devices.is_probing);
  return facts;
}

std::vector<v1::GpuMetrics> HostWatch::GpuSamples() const {
  std::vector<v1::GpuMetrics> samples = monitor_->Samples();
  for (const common::v1::Gpu& gpu : monitor_->Current().gpus) {
    if (auto sample = SampleAmd("", gpu)) samples.push_back(*std::move(sample));
  }
  return samples;
}

v1::HostMetrics HostWatch::Metrics() {
  monitor_->CheckBus();
  v1::HostMetrics metrics = host_meter_->Sample();
  for (v1::TaskMetrics& task : task_meter_->Sample()) *metrics.add_tasks() = std::move(task);
  for (v1::GpuMetrics& gpu : GpuSamples()) *metrics.add_gpus() = std::move(gpu);
  return metrics;
}

}  // namespace dstack::shim
