#include "services/runner/serve/usage_reporter.h"

#include <chrono>
#include <utility>

#include <google/protobuf/util/time_util.h>

#include "services/runner/usage/metrics.h"

namespace dstack::runner {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::chrono::seconds kInterval{1};
constexpr std::chrono::seconds kActivityInterval{5};

}  // namespace

UsageReporter::Sources UsageReporter::RealSources(bool is_container) {
  Sources sources{.sample_job = SampleCgroup, .list_ssh = ListSshConnections, .start_gpus = {}};
  if (is_container) sources.start_gpus = GpuSampler::Start;
  return sources;
}

UsageReporter::UsageReporter(EventLoop& loop, const base::Clock& clock, Sources sources, Send send)
    : loop_(loop), clock_(clock), sources_(std::move(sources)), send_(std::move(send)) {}

UsageReporter::~UsageReporter() { loop_.Cancel(&timer_); }

void UsageReporter::OnStatus(const v1::JobStatus& status) {
  ssh_port_ = static_cast<std::uint16_t>(status.ssh_port());
  const bool was_running = std::exchange(
      is_running_,
      status.state() == v1::JOB_STATE_RUNNING || status.state() == v1::JOB_STATE_STOPPING);
  if (is_running_ && !was_running) {
    StartGpus();
    Tick();
  } else if (!is_running_) {
    loop_.Cancel(&timer_);
    gpu_sampler_.reset();
  }
}

void UsageReporter::OnSession() {
  told_at_.reset();
  if (is_running_) Tick();
}

void UsageReporter::StartGpus() {
  if (!sources_.start_gpus) return;
  gpu_sampler_ = sources_.start_gpus([this](std::vector<v1::GpuMetrics> gpus) {
    loop_.Post([this, gpus = std::move(gpus)]() mutable { gpus_ = std::move(gpus); });
  });
}

void UsageReporter::Tick() {
  loop_.Cancel(&timer_);
  if (!is_running_) return;
  timer_ = loop_.After(kInterval, [this] { Tick(); });
  ReportMetrics();
  ReportActivity();
}

void UsageReporter::ReportMetrics() {
  auto metrics = sources_.sample_job();
  if (!metrics) return;
  metrics->mutable_gpus()->Assign(gpus_.begin(), gpus_.end());
  v1::SessionResponse response;
  *response.mutable_metrics() = *std::move(metrics);
  send_(std::move(response));
}

// Connections are looked at whether or not there is a session: their age counts.
void UsageReporter::ReportActivity() {
  if (ssh_port_ == 0) return;
  const base::MonotonicTime now = clock_.MonotonicNow();
  const auto reading = inactivity_.Update(now, sources_.list_ssh(ssh_port_));
  const bool is_due =
      !told_at_ || now - *told_at_ >= kActivityInterval || reading.open != told_open_;
  if (!is_due) return;
  v1::SessionResponse response;
  v1::SshActivity* activity = response.mutable_ssh_activity();
  *activity->mutable_time() = TimeUtil::GetCurrentTime();
  activity->set_open_connections(reading.open);
  *activity->mutable_inactive() = TimeUtil::NanosecondsToDuration(reading.inactive.count());
  if (reading.received_bytes) activity->set_received_bytes(*reading.received_bytes);
  if (reading.sent_bytes) activity->set_sent_bytes(*reading.sent_bytes);
  if (!send_(std::move(response))) return;
  told_at_ = now;
  told_open_ = reading.open;
}

}  // namespace dstack::runner
