#include "services/server/domain/offer/requirements.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "fmt/format.h"

namespace dstack::server {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::uint64_t kMiB = 1024ULL * 1024ULL;

template <typename List>
bool ContainsIgnoringCase(const List& list, const std::string& word) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& item) {
    return absl::EqualsIgnoreCase(item, word);
  });
}

bool Selects(const config::v1::InstanceSelector& selector, const Instance& instance) {
  if (selector.has_name()) return selector.name() == instance.name;
  if (selector.has_hostname()) return selector.hostname() == instance.hostname;
  const auto& fleet_instance = selector.fleet_instance();
  return fleet_instance.fleet().name() == instance.fleet_name &&
         static_cast<std::uint32_t>(fleet_instance.instance()) == instance.instance_num;
}

std::string CountText(std::int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string CountMismatch(const config::v1::IntRange& range, std::int64_t have, const char* noun) {
  if (range.has_min() && have < range.min())
    return fmt::format("needs {}, has {}", CountText(range.min(), noun), have);
  if (range.has_max() && have > range.max())
    return fmt::format("wants at most {}, has {}", CountText(range.max(), noun), have);
  return "";
}

std::string SizeText(std::uint64_t bytes) {
  return fmt::format("{:.4g}GB", static_cast<double>(bytes) / kGiB);
}

// Sizes of hosts are compared in whole MiB, as their tools report them.
std::string SizeMismatch(const config::v1::MemoryRange& range,
                         std::uint64_t have_bytes,
                         const char* what) {
  const std::uint64_t have = have_bytes / kMiB * kMiB;
  if (range.has_min_bytes() && have < range.min_bytes()) {
    return fmt::format("needs {} of {}, has {}", SizeText(range.min_bytes()), what, SizeText(have));
  }
  if (range.has_max_bytes() && have > range.max_bytes()) {
    return fmt::format(
        "wants at most {} of {}, has {}", SizeText(range.max_bytes()), what, SizeText(have));
  }
  return "";
}

std::string GpuMismatch(const config::v1::GpuSpec& wanted, const common::v1::Resources& have) {
  const int count = have.gpus_size();
  if (count == 0 && wanted.count().has_min() && wanted.count().min() == 0) return "";
  if (std::string reason = CountMismatch(wanted.count(), count, "GPU"); !reason.empty())
    return reason;
  const common::v1::Gpu gpu = count > 0 ? have.gpus(0) : common::v1::Gpu();
  if (wanted.vendor() != config::v1::GPU_VENDOR_UNSPECIFIED &&
      static_cast<int>(wanted.vendor()) != static_cast<int>(gpu.vendor())) {
    return "has GPUs of another vendor";
  }
  if (!wanted.name().empty() && !ContainsIgnoringCase(wanted.name(), gpu.name())) {
    return fmt::format("has GPU {}, wants {}",
                       gpu.name().empty() ? "none" : gpu.name(),
                       absl::StrJoin(wanted.name(), " or "));
  }
  if (wanted.has_memory()) {
    if (std::string reason = SizeMismatch(wanted.memory(), gpu.memory_bytes(), "memory per GPU");
        !reason.empty())
      return reason;
  }
  if (wanted.has_total_memory()) {
    const std::uint64_t total = gpu.memory_bytes() * static_cast<std::uint64_t>(count);
    if (std::string reason = SizeMismatch(wanted.total_memory(), total, "GPU memory");
        !reason.empty())
      return reason;
  }
  return "";
}

}  // namespace

std::string SelectorMismatch(const api::v1::RunSpec& spec, const Instance& instance) {
  const config::v1::ProfileParams& profile = spec.configuration().profile();
  const auto is_fleet = [&](const config::v1::EntityReference& fleet) {
    return fleet.name() == instance.fleet_name &&
           (fleet.project().empty() || fleet.project() == instance.project_name);
  };
  if (!profile.fleets().empty() &&
      !std::any_of(profile.fleets().begin(), profile.fleets().end(), is_fleet)) {
    return "is not in a fleet that the run names";
  }
  const auto selects = [&](const config::v1::InstanceSelector& selector) {
    return Selects(selector, instance);
  };
  if (!profile.instances().empty() &&
      !std::any_of(profile.instances().begin(), profile.instances().end(), selects)) {
    return "is not an instance that the run names";
  }
  if (!profile.backends().empty() && !ContainsIgnoringCase(profile.backends(), "remote") &&
      !ContainsIgnoringCase(profile.backends(), "ssh")) {
    return "is an ssh host, the run names other backends";
  }
  if (!profile.regions().empty() && !ContainsIgnoringCase(profile.regions(), "remote"))
    return "is not in a region that the run names";
  if (!profile.instance_types().empty() &&
      !ContainsIgnoringCase(profile.instance_types(), "instance")) {
    return "is not of a type that the run names";
  }
  if (profile.spot_policy() == config::v1::SPOT_POLICY_SPOT) return "is no spot instance";
  return "";
}

std::string RuntimeMismatch(const config::v1::RunConfiguration& configuration,
                            const Instance& instance) {
  if (instance.container_runtime == "process") {
    if (!configuration.image().empty()) return "has no container engine, the run names an image";
    if (configuration.privileged() || configuration.docker())
      return "has no container engine, the run is privileged";
    if (!configuration.volumes().empty()) return "has no container engine, the run mounts volumes";
  }
  if (configuration.privileged() && !instance.container_runtime.empty() &&
      !instance.has_privileged) {
    return "cannot run privileged containers: its kernel keeps capabilities back";
  }
  return "";
}

std::string ResourceMismatch(const config::v1::Resources& wanted,
                             const common::v1::Resources& have) {
  const auto arch = wanted.cpu().arch();
  const bool is_arm = have.cpu_arch() == common::v1::CPU_ARCH_ARM;
  if (arch != config::v1::CPU_ARCH_UNSPECIFIED && (arch == config::v1::CPU_ARCH_ARM) != is_arm)
    return "has another CPU architecture";
  if (std::string reason = CountMismatch(wanted.cpu().count(), have.cpus(), "CPU"); !reason.empty())
    return reason;
  if (std::string reason = SizeMismatch(wanted.memory(), have.memory_bytes(), "memory");
      !reason.empty())
    return reason;
  if (wanted.has_gpu()) {
    if (std::string reason = GpuMismatch(wanted.gpu(), have); !reason.empty()) return reason;
  }
  if (wanted.has_disk() && have.disk_bytes() != 0)
    return SizeMismatch(wanted.disk().size(), have.disk_bytes(), "disk");
  return "";
}

}  // namespace dstack::server
