#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dstack/runner/v1/runner_service.pb.h"

#include "libs/base/clock.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/usage/gpu_sampler.h"
#include "services/runner/usage/ssh_connections.h"

namespace dstack::runner {

// Tells the server what the job uses while it runs: metrics each second, ssh activity at each
// change and every five seconds. Lives on the loop's thread.
class UsageReporter {
 public:
  // Where usage comes from; tests bring their own.
  struct Sources {
    std::function<std::optional<v1::JobMetrics>()> sample_job;
    std::function<std::vector<SshConnection>(std::uint16_t port)> list_ssh;
    // Null where nobody samples accelerators.
    std::function<std::unique_ptr<GpuSampler>(GpuSampler::OnSample)> start_gpus;
  };
  // False: nobody takes the message now, or others wait for the wire.
  using Send = std::function<bool(v1::SessionResponse)>;

  // The machine's. A host without containers shows accelerators of other jobs too, so there are
  // none then.
  static Sources RealSources(bool is_container);

  // Arguments that are references outlive the reporter.
  UsageReporter(EventLoop& loop, const base::Clock& clock, Sources sources, Send send);
  ~UsageReporter();

  // The job's status changed: begins and ends with the command, and follows the port of its sshd.
  void OnStatus(const v1::JobStatus& status);
  // A session began: it gets the activity at once.
  void OnSession();

  // What the timer does each second.
  void Tick();

 private:
  void ReportMetrics();
  void ReportActivity();
  void StartGpus();

  EventLoop& loop_;
  const base::Clock& clock_;
  const Sources sources_;
  const Send send_;
  bool is_running_ = false;
  std::uint16_t ssh_port_ = 0;
  EventLoop::TimerId timer_ = EventLoop::kNoTimer;
  SshInactivity inactivity_;
  std::uint32_t told_open_ = 0;
  // Nothing was told to this session yet, or the last one did not take it.
  std::optional<base::MonotonicTime> told_at_;
  std::vector<v1::GpuMetrics> gpus_;
  // Last: its thread posts to the loop about the members above.
  std::unique_ptr<GpuSampler> gpu_sampler_;
};

}  // namespace dstack::runner
