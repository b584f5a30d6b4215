#include "services/shim/devices/device_monitor.h"

#include <algorithm>
#include <stop_token>
#include <utility>

#include <absl/strings/strip.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/shim/devices/pci_tree.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;

bool Contains(const std::vector<Gpu>& gpus, const std::string& id) {
  return std::any_of(
      gpus.begin(), gpus.end(), [&](const Gpu& gpu) { return gpu.resource_id() == id; });
}

}  // namespace

std::string BootId(const std::string& root) {
  const std::string text = base::ReadFile(root + "/proc/sys/kernel/random/boot_id").value_or("");
  return std::string(base::ToStd(absl::StripAsciiWhitespace(text)));
}

DeviceMonitor::DeviceMonitor(std::vector<std::unique_ptr<DeviceProbe>> probes, Settings settings)
    : settings_(std::move(settings)), boot_id_(BootId(settings_.root)), absent_(std::move(probes)) {
  LoadMemory();
}

DeviceMonitor::~DeviceMonitor() {
  std::vector<std::jthread> threads;
  {
    base::MutexLock lock(mutex_);
    is_closing_ = true;
    threads.swap(threads_);
  }
  for (std::jthread& thread : threads) thread.request_stop();
}

void DeviceMonitor::Start(std::function<void()> on_change) {
  on_change_ = std::move(on_change);
  base::MutexLock lock(mutex_);
  StartPresent();
  const auto deadline =
      base::DeadlineIn(remembered_.empty() ? settings_.first_wait : settings_.known_wait);
  while (IsWaiting()) {
    if (changed_.WaitUntil(mutex_, deadline)) continue;
    telemetry::Warn("accelerators do not answer; going on without waiting for them");
    return;
  }
}

void DeviceMonitor::Refresh() {
  base::MutexLock lock(mutex_);
  ++round_;
  StartPresent();
  changed_.NotifyAll();
  const auto deadline = base::DeadlineIn(settings_.first_wait);
  while (IsWaiting() && changed_.WaitUntil(mutex_, deadline)) {
  }
}

// Makers whose devices are not there have nothing to be asked, and cost no thread.
void DeviceMonitor::StartPresent() {
  if (is_closing_) return;
  std::vector<std::unique_ptr<DeviceProbe>> absent;
  for (auto& probe : absent_) {
    if (!probe->IsPresent()) {
      absent.push_back(std::move(probe));
      continue;
    }
    Slot* slot = &slots_.emplace_back(Slot{.probe = std::move(probe)});
    threads_.emplace_back([this, slot](const std::stop_token& stop) { Run(stop, slot); });
  }
  absent_ = std::move(absent);
}

bool DeviceMonitor::IsWaiting() const {
  return std::any_of(
      slots_.begin(), slots_.end(), [this](const Slot& slot) { return slot.round < round_; });
}

void DeviceMonitor::Run(const std::stop_token& stop, Slot* slot) {
  while (!stop.stop_requested()) {
    const bool has_found = RunOnce(stop, slot);
    // Before the lock, because it runs at once after a stop.
    const std::stop_callback wake(stop, [this] {
      base::MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
    base::MutexLock lock(mutex_);
    const auto retry = base::DeadlineIn(settings_.retry_pause);
    while (!stop.stop_requested() && slot->round >= round_) {
      if (has_found) {
        changed_.Wait(mutex_);
      } else if (!changed_.WaitUntil(mutex_, retry)) {
        // A driver may come up after us.
        break;
      }
    }
  }
}

bool DeviceMonitor::RunOnce(const std::stop_token& stop, Slot* slot) {
  std::uint64_t round = 0;
  {
    base::MutexLock lock(mutex_);
    round = round_;
  }
  auto found = slot->probe->Find(stop);
  if (stop.stop_requested()) return true;
  if (found.ok()) AddPciFacts(settings_.root, &found->gpus, &found->links);
  bool is_news = false;
  {
    base::MutexLock lock(mutex_);
    const std::string error = found.ok() ? "" : std::string(base::Message(found.status()));
    is_news = slot->answer == Answer::kNone || found.ok() || slot->error != error;
    slot->answer = found.ok() ? Answer::kFound : Answer::kFailed;
    slot->error = error;
    if (found.ok()) TakeAnswer(*found, slot);
  }
  if (is_news && !found.ok()) {
    telemetry::Warn("the host has accelerators that cannot be asked",
                    {{"vendor", slot->probe->name()}, {"status", found.status()}});
  }
  if (is_news) {
    Remember();
    on_change_();
  }
  // After the news, so that whoever waits for the round finds all of it done.
  base::MutexLock lock(mutex_);
  slot->round = round;
  changed_.NotifyAll();
  return found.ok();
}

void DeviceMonitor::TakeAnswer(DeviceList found, Slot* slot) {
  // Those of the last answer that are not in this one are missed, as after a restart.
  for (const Gpu& gpu : slot->devices.gpus) {
    if (!Contains(remembered_, gpu.resource_id())) remembered_.push_back(gpu);
  }
  slot->devices = std::move(found);
  for (const Gpu& gpu : slot->devices.gpus) health_.OnFound(CardOf(gpu));
  FindOnBus(slot->devices.gpus);
}

void DeviceMonitor::LoadMemory() {
  v1::HostFacts facts;
  const auto bytes = base::ReadFile(settings_.memory_file);
  if (!bytes.ok() || !facts.ParseFromString(*bytes)) return;
  // Cards may be moved and mended between boots.
  if (facts.boot_id() != boot_id_) return;
  base::MutexLock lock(mutex_);
  for (const Gpu& gpu : facts.resources().gpus()) {
    remembered_.push_back(gpu);
    health_.Recall(gpu);
    remembered_.back().clear_health();
    remembered_.back().clear_health_message();
  }
}

void DeviceMonitor::Remember() {
  if (settings_.memory_file.empty()) return;
  v1::HostFacts facts;
  // One file, whose last writer must have the last word.
  base::MutexLock file_lock(file_mutex_);
  {
    base::MutexLock lock(mutex_);
    facts.set_boot_id(boot_id_);
    for (Gpu& gpu : Collect().gpus) {
      gpu.clear_health();
      gpu.clear_health_message();
      health_.FillLasting(&gpu);
      *facts.mutable_resources()->add_gpus() = std::move(gpu);
    }
  }
  const absl::Status saved =
      base::WriteFileAtomic(settings_.memory_file, facts.SerializeAsString(), 0600);
  if (!saved.ok()) telemetry::Warn("accelerators could not be remembered", {{"status", saved}});
}

DeviceState DeviceMonitor::Current() const {
  base::MutexLock lock(mutex_);
  return Collect();
}

DeviceState DeviceMonitor::Collect() const {
  DeviceState state;
  for (const Slot& slot : slots_) {
    state.is_probing |= slot.answer == Answer::kNone;
    state.gpus.insert(state.gpus.end(), slot.devices.gpus.begin(), slot.devices.gpus.end());
    state.links.insert(state.links.end(), slot.devices.links.begin(), slot.devices.links.end());
  }
  for (Gpu& gpu : state.gpus) health_.Fill(&gpu);
  AddRemembered(&state);
  return state;
}

// Devices that were there earlier in this boot. While their maker's probe runs they count as they
// were; once it has answered without them they are lost.
void DeviceMonitor::AddRemembered(DeviceState* state) const {
  for (const Gpu& gpu : remembered_) {
    if (Contains(state->gpus, gpu.resource_id())) continue;
    // A card that was divided anew has other slices, and that is all.
    const bool is_slice = !gpu.parent_uuid().empty();
    Gpu copy = gpu;
    health_.Fill(&copy);
    if (!state->is_probing) {
      if (is_slice) continue;
      copy.set_health(common::v1::HEALTH_STATUS_FAILURE);
      if (copy.health_message().empty()) copy.set_health_message("the device does not answer");
    }
    state->gpus.push_back(std::move(copy));
  }
}

std::vector<v1::GpuMetrics> DeviceMonitor::Samples() const {
  base::MutexLock lock(mutex_);
  return samples_;
}

void DeviceMonitor::FindOnBus(const std::vector<Gpu>& gpus) {
  for (const Gpu& gpu : gpus) {
    const std::string path = settings_.root + "/sys/bus/pci/devices/" + gpu.pci_address();
    const bool is_known = std::any_of(on_bus_.begin(), on_bus_.end(), [&](const OnBus& one) {
      return one.path == path && one.card == CardOf(gpu);
    });
    if (is_known || gpu.pci_address().empty() || !base::Exists(path)) continue;
    on_bus_.push_back({CardOf(gpu), path});
  }
}

void DeviceMonitor::CheckBus() {
  std::vector<OnBus> devices;
  {
    base::MutexLock lock(mutex_);
    devices = on_bus_;
  }
  bool is_news = false;
  for (const OnBus& device : devices) {
    if (base::Exists(device.path)) continue;
    base::MutexLock lock(mutex_);
    is_news |= health_.OnLost(device.card);
  }
  if (!is_news) return;
  Remember();
  on_change_();
}

void DeviceMonitor::OnLine(const ProbeLine& line) {
  bool is_news = false;
  {
    base::MutexLock lock(mutex_);
    is_news = Apply(line);
  }
  if (!is_news) return;
  Remember();
  on_change_();
}

bool DeviceMonitor::Apply(const ProbeLine& line) {
  if (const auto* sample = std::get_if<ProbeSample>(&line)) {
    samples_ = sample->gpus;
    return false;
  }
  if (const auto* facts = std::get_if<ProbeFacts>(&line)) {
    // The watcher began to watch these.
    bool is_news = false;
    for (const Gpu& gpu : facts->devices.gpus) {
      is_news |= health_.OnWatched(CardOf(gpu));
    }
    return is_news;
  }
  if (const auto* health = std::get_if<ProbeHealth>(&line)) {
    return health_.OnFindings(health->incidents);
  }
  if (const auto* loss = std::get_if<ProbeLoss>(&line)) return health_.OnLost(loss->uuid);
  if (const auto* event = std::get_if<ProbeEvent>(&line)) {
    telemetry::Warn("an accelerator tells an error",
                    {{"uuid", event->uuid}, {"source", event->source}, {"code", event->code}});
    if (event->source == "xid") return health_.OnXid(event->uuid, event->code);
    if (event->source == "ecc_double") return health_.OnDoubleBitError(event->uuid);
  }
  return false;
}

}  // namespace dstack::shim
