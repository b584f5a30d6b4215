#include "services/server/domain/usage/usage_meter.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dstack::server {
namespace {

using api::v1::UsagePoint;
using std::chrono::seconds;

constexpr std::int64_t kIntervalSeconds = 10;

std::int64_t IntervalOf(TimePoint time) {
  return std::chrono::floor<seconds>(time.time_since_epoch()).count() / kIntervalSeconds;
}

void AddGpus(const google::protobuf::RepeatedPtrField<shim::v1::GpuMetrics>& gpus,
             UsagePoint* point) {
  for (const shim::v1::GpuMetrics& gpu : gpus) {
    api::v1::GpuUsage* usage = point->add_gpus();
    usage->set_usage_ratio(gpu.usage_ratio());
    usage->set_memory_used_bytes(gpu.memory_used_bytes());
    usage->set_power_watts(gpu.power_watts());
    usage->set_temperature_celsius(gpu.temperature_celsius());
  }
}

// Accelerators that come or go begin anew.
void AddTo(std::vector<double>* sums, const std::vector<double>& values) {
  if (sums->size() != values.size()) sums->assign(values.size(), 0);
  for (std::size_t i = 0; i < values.size(); ++i) (*sums)[i] += values[i];
}

}  // namespace

UsageSample SampleOfHost(const shim::v1::HostMetrics& metrics, std::uint32_t cpus, TimePoint time) {
  UsageSample sample{.time = time, .cpu_usage_micros = {}, .cpus_used = {}, .values = {}};
  sample.cpus_used = metrics.cpu_usage_ratio() * cpus;
  UsagePoint& values = sample.values;
  values.set_memory_used_bytes(metrics.memory_used_bytes());
  values.set_network_received_bytes(metrics.network_received_bytes());
  values.set_network_sent_bytes(metrics.network_sent_bytes());
  values.set_disk_read_bytes(metrics.disk_read_bytes());
  values.set_disk_written_bytes(metrics.disk_written_bytes());
  values.set_disk_free_bytes(metrics.disk_free_bytes());
  AddGpus(metrics.gpus(), &values);
  return sample;
}

UsageSample SampleOfTask(const shim::v1::TaskMetrics& metrics, TimePoint time) {
  UsageSample sample{.time = time, .cpu_usage_micros = {}, .cpus_used = {}, .values = {}};
  sample.cpu_usage_micros = metrics.cpu_usage_micros();
  UsagePoint& values = sample.values;
  values.set_memory_used_bytes(metrics.memory_used_bytes());
  // A task in the host's network has no counters of its own.
  if (metrics.network_received_bytes() > 0 || metrics.network_sent_bytes() > 0) {
    values.set_network_received_bytes(metrics.network_received_bytes());
    values.set_network_sent_bytes(metrics.network_sent_bytes());
  }
  values.set_disk_read_bytes(metrics.disk_read_bytes());
  values.set_disk_written_bytes(metrics.disk_written_bytes());
  AddGpus(metrics.gpus(), &values);
  return sample;
}

UsageSample SampleOfJob(const runner::v1::JobMetrics& metrics, TimePoint time) {
  UsageSample sample{.time = time, .cpu_usage_micros = {}, .cpus_used = {}, .values = {}};
  sample.cpu_usage_micros = metrics.cpu_usage_micros();
  UsagePoint& values = sample.values;
  values.set_memory_used_bytes(metrics.memory_working_set_bytes());
  if (metrics.has_network_received_bytes())
    values.set_network_received_bytes(metrics.network_received_bytes());
  if (metrics.has_network_sent_bytes()) values.set_network_sent_bytes(metrics.network_sent_bytes());
  if (metrics.has_disk_read_bytes()) values.set_disk_read_bytes(metrics.disk_read_bytes());
  if (metrics.has_disk_written_bytes()) values.set_disk_written_bytes(metrics.disk_written_bytes());
  for (const runner::v1::GpuMetrics& gpu : metrics.gpus()) {
    api::v1::GpuUsage* usage = values.add_gpus();
    usage->set_usage_ratio(gpu.utilization_ratio());
    usage->set_memory_used_bytes(gpu.memory_used_bytes());
  }
  return sample;
}

bool UsageMeter::IsSameInterval(TimePoint time) const {
  return IntervalOf(newest_->time) == IntervalOf(time);
}

std::optional<UsagePoint> UsageMeter::Add(UsageSample sample) {
  if (newest_ && sample.time <= newest_->time) return std::nullopt;
  std::optional<UsagePoint> point;
  if (newest_ && !IsSameInterval(sample.time)) point = Finish();
  std::vector<double> usages;
  std::vector<double> powers;
  for (const api::v1::GpuUsage& gpu : sample.values.gpus()) {
    usages.push_back(gpu.usage_ratio());
    powers.push_back(gpu.power_watts());
  }
  // Sums of another set of accelerators mean nothing: what was counted of this interval goes.
  if (usages.size() != gpu_usage_sums_.size()) count_ = 0;
  AddTo(&gpu_usage_sums_, usages);
  AddTo(&gpu_power_sums_, powers);
  ++count_;
  if (sample.cpus_used) {
    cpus_sum_ += *sample.cpus_used;
    ++cpus_count_;
  }
  if (!reference_) reference_ = sample;
  newest_ = std::move(sample);
  return point;
}

std::optional<UsagePoint> UsageMeter::Finish() {
  if (count_ == 0) return std::nullopt;
  UsagePoint point = newest_->values;
  point.mutable_time()->set_seconds((IntervalOf(newest_->time) + 1) * kIntervalSeconds);
  if (cpus_count_ > 0) {
    point.set_cpus_used(cpus_sum_ / cpus_count_);
  } else if (newest_->cpu_usage_micros && reference_->cpu_usage_micros &&
             newest_->time > reference_->time) {
    const std::uint64_t before = *reference_->cpu_usage_micros;
    // A counter that went back belongs to another container.
    const std::uint64_t used =
        *newest_->cpu_usage_micros - std::min(before, *newest_->cpu_usage_micros);
    const std::chrono::duration<double, std::micro> time = newest_->time - reference_->time;
    point.set_cpus_used(static_cast<double>(used) / time.count());
  }
  for (int i = 0; i < point.gpus_size(); ++i) {
    const auto place = static_cast<std::size_t>(i);
    point.mutable_gpus(i)->set_usage_ratio(gpu_usage_sums_[place] / count_);
    point.mutable_gpus(i)->set_power_watts(gpu_power_sums_[place] / count_);
  }
  reference_ = newest_;
  count_ = 0;
  cpus_sum_ = 0;
  cpus_count_ = 0;
  gpu_usage_sums_.clear();
  gpu_power_sums_.clear();
  return point;
}

std::optional<UsagePoint> JoinPoints(std::optional<UsagePoint> outside,
                                     std::optional<UsagePoint> inside) {
  if (!outside) return inside;
  if (!inside) return outside;
  UsagePoint joined = *std::move(outside);
  if (!joined.has_cpus_used() && inside->has_cpus_used()) joined.set_cpus_used(inside->cpus_used());
  if (joined.gpus().empty()) *joined.mutable_gpus() = inside->gpus();
  if (inside->has_network_received_bytes() && !joined.has_network_received_bytes()) {
    joined.set_network_received_bytes(inside->network_received_bytes());
    joined.set_network_sent_bytes(inside->network_sent_bytes());
  }
  return joined;
}

}  // namespace dstack::server
