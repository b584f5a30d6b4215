#include "services/shim/host/metrics.h"

#include <utility>
#include <vector>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <google/protobuf/util/time_util.h>
#include <sys/statvfs.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "services/shim/host/facts.h"
#include "services/shim/host/usage.h"

namespace dstack::shim {

namespace {

bool IsOwnInterface(std::string_view name) { return name != "lo" && !IsEngineInterface(name); }

// Whole disks, not their parts and not what is stacked on them.
bool IsDisk(std::string_view name) {
  for (const std::string_view prefix : {"loop", "ram", "zram", "dm-", "md", "sr", "fd"}) {
    if (name.starts_with(prefix)) return false;
  }
  return base::Exists("/sys/block/" + std::string(name));
}

}  // namespace

CpuTicks ParseCpuTicks(std::string_view proc_stat) {
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; the guests' time is part
  // of user and nice already.
  constexpr std::size_t kIdle = 3;
  constexpr std::size_t kIoWait = 4;
  constexpr std::size_t kFields = 8;
  CpuTicks ticks;
  const std::string_view line = proc_stat.substr(0, proc_stat.find('\n'));
  const std::vector<absl::string_view> words =
      absl::StrSplit(base::ToAbsl(line), ' ', absl::SkipEmpty());
  if (words.empty() || words[0] != "cpu") return ticks;
  for (std::size_t i = 0; i < kFields && i + 1 < words.size(); ++i) {
    std::uint64_t value = 0;
    if (!absl::SimpleAtoi(words[i + 1], &value)) return {};
    ticks.total += value;
    if (i != kIdle && i != kIoWait) ticks.busy += value;
  }
  return ticks;
}

HostMeter::HostMeter(std::string data_dir, const base::Clock& clock)
    : data_dir_(std::move(data_dir)),
      clock_(clock),
      last_(ParseCpuTicks(base::ReadFile("/proc/stat").value_or(""))) {}

v1::HostMetrics HostMeter::Sample() {
  v1::HostMetrics metrics;
  *metrics.mutable_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      clock_.Now().time_since_epoch().count());
  const CpuTicks now = ParseCpuTicks(base::ReadFile("/proc/stat").value_or(""));
  if (now.total > last_.total && now.busy >= last_.busy) {
    metrics.set_cpu_usage_ratio(static_cast<double>(now.busy - last_.busy) /
                                static_cast<double>(now.total - last_.total));
  }
  last_ = now;
  const std::string meminfo = base::ReadFile("/proc/meminfo").value_or("");
  const std::uint64_t total = MeminfoBytes(meminfo, "MemTotal");
  const std::uint64_t available = MeminfoBytes(meminfo, "MemAvailable");
  metrics.set_memory_used_bytes(total > available ? total - available : 0);
  struct statvfs disk {};
  if (::statvfs(data_dir_.c_str(), &disk) == 0) {
    metrics.set_disk_free_bytes(std::uint64_t{disk.f_bavail} * disk.f_frsize);
  }
  const ByteCounters network =
      ParseNetDev(base::ReadFile("/proc/net/dev").value_or(""), IsOwnInterface);
  metrics.set_network_received_bytes(network.in);
  metrics.set_network_sent_bytes(network.out);
  const ByteCounters disks = ParseDiskstats(base::ReadFile("/proc/diskstats").value_or(""), IsDisk);
  metrics.set_disk_read_bytes(disks.in);
  metrics.set_disk_written_bytes(disks.out);
  return metrics;
}

}  // namespace dstack::shim
