#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "dstack/shim/v1/host.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "services/shim/devices/device_health.h"
#include "services/shim/devices/probe_lines.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// The accelerators of the host as far as they are known, of all makers together.
struct DeviceState {
  std::vector<common::v1::Gpu> gpus;
  std::vector<v1::GpuLink> links;
  // Some did not answer yet; until then those of the last time stand in for them.
  bool is_probing = false;
};

// Finds the accelerators, keeps their health, and says when either changes. A maker's probe runs
// on a thread of its own, so that one that hangs holds up neither the start nor the others; what it
// finds in the end is told then. Thread-safe.
class DeviceMonitor {
 public:
  struct Settings {
    // In front of all paths; empty for the host itself.
    std::string root;
    // Remembers devices and their lasting failures over restarts of the shim, not over boots.
    std::string memory_file;
    // How long Start() waits for the first answers.
    base::Duration first_wait = std::chrono::seconds(5);
    // The same when the devices of the last time can stand in for the answers.
    base::Duration known_wait = std::chrono::milliseconds(200);
    // How long after a failed probe the next one begins.
    base::Duration retry_pause = std::chrono::minutes(1);
  };

  DeviceMonitor(std::vector<std::unique_ptr<DeviceProbe>> probes, Settings settings);
  // Cuts running probes off and waits for them.
  ~DeviceMonitor();

  // `on_change` is called on any thread after each change, and must not block. Once.
  void Start(std::function<void()> on_change);

  // Asks again, also makers whose devices have come since, and waits `first_wait` at most; what a
  // probe finds later is told later. A card that was lost and is found again is no loss any more.
  // Blocks.
  void Refresh();

  DeviceState Current() const;
  // Newest samples, resource_id as in Current(); empty while nobody measures.
  std::vector<v1::GpuMetrics> Samples() const;

  // Looks whether all devices are still on the PCI bus; cheap. One that has left it has failed.
  void CheckBus();
  // Takes a line of the watcher.
  void OnLine(const ProbeLine& line);

 private:
  enum class Answer { kNone, kFound, kFailed };
  struct Slot {
    std::unique_ptr<DeviceProbe> probe;
    Answer answer = Answer::kNone;
    // Of the newest answer; see round_.
    std::uint64_t round = 0;
    DeviceList devices;
    std::string error;
  };

  // A device that was seen on the bus.
  struct OnBus {
    std::string card;
    std::string path;
  };

  void Run(const std::stop_token& stop, Slot* slot);
  bool RunOnce(const std::stop_token& stop, Slot* slot);
  void TakeAnswer(DeviceList found, Slot* slot) REQUIRES(mutex_);
  void StartPresent() REQUIRES(mutex_);
  bool IsWaiting() const REQUIRES(mutex_);
  void LoadMemory();
  void Remember();
  void FindOnBus(const std::vector<common::v1::Gpu>& gpus) REQUIRES(mutex_);
  bool Apply(const ProbeLine& line) REQUIRES(mutex_);
  DeviceState Collect() const REQUIRES(mutex_);
  void AddRemembered(DeviceState* state) const REQUIRES(mutex_);

  const Settings settings_;
  const std::string boot_id_;
  std::function<void()> on_change_;

  mutable base::Mutex mutex_;
  mutable base::CondVar changed_;
  // Of the makers whose devices are there. Stay where they are.
  std::deque<Slot> slots_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<DeviceProbe>> absent_ GUARDED_BY(mutex_);
  // Counts how often all were asked.
  std::uint64_t round_ GUARDED_BY(mutex_) = 1;
  bool is_closing_ GUARDED_BY(mutex_) = false;
  DeviceHealth health_ GUARDED_BY(mutex_);
  std::vector<v1::GpuMetrics> samples_ GUARDED_BY(mutex_);
  std::vector<common::v1::Gpu> remembered_ GUARDED_BY(mutex_);
  std::vector<OnBus> on_bus_ GUARDED_BY(mutex_);

  base::Mutex file_mutex_;
  std::vector<std::jthread> threads_ GUARDED_BY(mutex_);
};

// The kernel's id of this boot, below `root`; empty where it is not told.
std::string BootId(const std::string& root);

}  // namespace dstack::shim
