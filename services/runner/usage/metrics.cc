#include "services/runner/usage/metrics.h"

#include <algorithm>
#include <cstdint>

#include <google/protobuf/util/time_util.h>

#include "libs/base/file.h"
#include "services/runner/usage/cgroup.h"
#include "services/runner/usage/network.h"

namespace dstack::runner {
namespace {

void AddDisk(const CgroupFiles& files, v1::JobMetrics* metrics) {
  const auto content = base::ReadFile(
      files.io + (files.is_v2 ? "/io.stat" : "/blkio.throttle.io_service_bytes_recursive"));
  if (files.io.empty() || !content.ok()) return;
  const DiskBytes bytes = ParseIoStat(*content, files.is_v2);
  metrics->set_disk_read_bytes(bytes.read);
  metrics->set_disk_written_bytes(bytes.written);
}

}  // namespace

std::optional<v1::JobMetrics> SampleCgroup() {
  const CgroupFiles files = FindOwnCgroup();
  if (files.memory.empty() || files.cpu.empty()) return std::nullopt;
  // Only the root of version 1 has it; that of version 2 has no memory.current.
  if (base::Exists(files.memory + "/release_agent")) return std::nullopt;
  constexpr std::uint64_t kNanosPerMicro = 1000;
  const bool is_v2 = files.is_v2;
  const auto usage =
      ReadNumber(files.memory + (is_v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  const auto inactive =
      ReadKey(files.memory + "/memory.stat", is_v2 ? "inactive_file" : "total_inactive_file");
  const auto cpu = is_v2 ? ReadKey(files.cpu + "/cpu.stat", "usage_usec")
                         : ReadNumber(files.cpu + "/cpuacct.usage");
  if (!usage || !cpu) return std::nullopt;
  v1::JobMetrics metrics;
  *metrics.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  metrics.set_cpu_usage_micros(is_v2 ? *cpu : *cpu / kNanosPerMicro);
  metrics.set_memory_usage_bytes(*usage);
  metrics.set_memory_working_set_bytes(*usage - std::min(*usage, inactive.value_or(0)));
  AddDisk(files, &metrics);
  if (const auto network = SampleNetwork()) {
    metrics.set_network_received_bytes(network->received);
    metrics.set_network_sent_bytes(network->sent);
  }
  return metrics;
}

}  // namespace dstack::runner
