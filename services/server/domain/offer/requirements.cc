#include "services/server/domain/offer/requirements.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "libs/config/accelerators.h"

namespace dstack::server {
namespace {

using config::v1::GpuSpec;

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::uint64_t kMiB = 1024ULL * 1024ULL;

template <typename List>
bool ContainsIgnoringCase(const List& list, const std::string& word) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& item) {
    return absl::EqualsIgnoreCase(item, word);
  });
}

template <typename List>
std::string Alternatives(const List& list) {
  return absl::StrJoin(list, " or ");
}

std::string CountText(std::int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string SizeText(std::uint64_t bytes) {
  return fmt::format("{:.4g}GB", static_cast<double>(bytes) / kGiB);
}

bool CountFits(const config::v1::IntRange& range,
               std::int64_t have,
               const char* noun,
               const Why& why) {
  if (range.has_min() && have < range.min()) {
    return why.Not(
        [&] { return fmt::format("needs {}, has {}", CountText(range.min(), noun), have); });
  }
  if (range.has_max() && have > range.max()) {
    return why.Not([&] {
      if (range.max() == 0) return fmt::format("wants no {}, has {}", noun, have);
      return fmt::format("wants at most {}, has {}", CountText(range.max(), noun), have);
    });
  }
  return true;
}

// Sizes of hosts are compared in whole MiB, as their tools report them.
bool SizeFits(const config::v1::MemoryRange& range,
              std::uint64_t have_bytes,
              const char* what,
              const Why& why) {
  const std::uint64_t have = have_bytes / kMiB * kMiB;
  if (range.has_min_bytes() && have < range.min_bytes()) {
    return why.Not([&] {
      return fmt::format(
          "needs {} of {}, has {}", SizeText(range.min_bytes()), what, SizeText(have));
    });
  }
  if (range.has_max_bytes() && have > range.max_bytes()) {
    return why.Not([&] {
      return fmt::format(
          "wants at most {} of {}, has {}", SizeText(range.max_bytes()), what, SizeText(have));
    });
  }
  return true;
}

std::string VendorText(int vendor) {
  switch (vendor) {
    case common::v1::GPU_VENDOR_NVIDIA:
      return "NVIDIA";
    case common::v1::GPU_VENDOR_AMD:
      return "AMD";
    case common::v1::GPU_VENDOR_GOOGLE:
      return "Google";
    case common::v1::GPU_VENDOR_INTEL:
      return "Intel";
    case common::v1::GPU_VENDOR_TENSTORRENT:
      return "Tenstorrent";
    default:
      return "unknown";
  }
}

// The document says `name: []`, for which a single empty name stands.
bool IsEmptyList(const GpuSpec& wanted) {
  return wanted.name_size() == 1 && wanted.name(0).empty();
}

bool ModelFits(const GpuSpec& wanted, const common::v1::Gpu& gpu, const Why& why) {
  if (wanted.vendor() != config::v1::GPU_VENDOR_UNSPECIFIED &&
      static_cast<int>(wanted.vendor()) != static_cast<int>(gpu.vendor())) {
    return why.Not([&] {
      if (gpu.name().empty())
        return fmt::format("needs {} GPUs, has none", VendorText(wanted.vendor()));
      return fmt::format(
          "needs {} GPUs, has {} ones", VendorText(wanted.vendor()), VendorText(gpu.vendor()));
    });
  }
  if (IsEmptyList(wanted)) return why.Not("does not fit: the list `gpu.name` is empty");
  if (!wanted.name().empty() && !ContainsIgnoringCase(wanted.name(), gpu.name())) {
    return why.Not([&] {
      return fmt::format("needs GPU {}, has {}",
                         Alternatives(wanted.name()),
                         gpu.name().empty() ? "none" : gpu.name());
    });
  }
  return true;
}

bool CapabilityFits(const config::v1::ComputeCapability& wanted,
                    const common::v1::Gpu& gpu,
                    const Why& why) {
  const config::Accelerator* model =
      gpu.vendor() == common::v1::GPU_VENDOR_NVIDIA ? config::FindAccelerator(gpu.name()) : nullptr;
  if (model == nullptr || !model->compute_capability) {
    return why.Not([&] {
      return fmt::format("needs compute capability {}.{}, that of GPU {} is not known",
                         wanted.major(),
                         wanted.minor(),
                         gpu.name().empty() ? "none" : gpu.name());
    });
  }
  const auto [major, minor] = *model->compute_capability;
  if (std::make_pair(major, minor) >= std::make_pair(wanted.major(), wanted.minor())) return true;
  return why.Not([&, have_major = major, have_minor = minor] {
    return fmt::format("needs compute capability {}.{}, {} has {}.{}",
                       wanted.major(),
                       wanted.minor(),
                       model->name,
                       have_major,
                       have_minor);
  });
}

// Accelerators that are alike against a wish.
bool GroupFits(const GpuSpec& wanted, const GpuGroup& have, const Why& why) {
  if (!CountFits(wanted.count(), have.count, "GPU", why)) return false;
  static const common::v1::Gpu kNone;
  const common::v1::Gpu& gpu = have.gpu == nullptr ? kNone : *have.gpu;
  if (!ModelFits(wanted, gpu, why)) return false;
  if (wanted.has_compute_capability() && !CapabilityFits(wanted.compute_capability(), gpu, why))
    return false;
  if (wanted.has_memory() && !SizeFits(wanted.memory(), gpu.memory_bytes(), "memory per GPU", why))
    return false;
  const std::uint64_t total = gpu.memory_bytes() * have.count;
  return !wanted.has_total_memory() || SizeFits(wanted.total_memory(), total, "GPU memory", why);
}

// Of several kinds, those of one kind have to do, or all together where each kind is good enough.
// A part of the host may get any of them, so there each kind has to be.
bool MixedGpusFit(const GpuSpec& wanted, const Share& have, const Why& why) {
  const auto& groups = have.gpu_groups;
  const bool is_each_fit = std::all_of(groups.begin(), groups.end(), [&](const GpuGroup& group) {
    return GroupFits(wanted, {group.gpu, have.gpu_count}, Why());
  });
  if (is_each_fit) return true;
  const auto is_fit = [&](const GpuGroup& group) { return GroupFits(wanted, group, Why()); };
  const bool is_one_fit = std::any_of(groups.begin(), groups.end(), is_fit);
  if (is_one_fit && have.is_whole) return true;
  if (is_one_fit) return why.Not("has GPUs of several kinds, a part of it may get any of them");
  // The kind that was meant tells more than the first one.
  const auto meant = std::find_if(groups.begin(), groups.end(), [&](const GpuGroup& group) {
    return ModelFits(wanted, *group.gpu, Why());
  });
  return GroupFits(wanted, meant == groups.end() ? groups.front() : *meant, why);
}

bool GpusFit(const GpuSpec& wanted, const Share& have, const Why& why) {
  // "From 0" is the one count that says that GPUs are welcome and not needed.
  if (have.gpu_count == 0 && wanted.count().has_min() && wanted.count().min() == 0) return true;
  if (!have.gpu_groups.empty()) return MixedGpusFit(wanted, have, why);
  return GroupFits(wanted, {have.gpu, have.gpu_count}, why);
}

bool Selects(const config::v1::InstanceSelector& selector, const Instance& instance) {
  if (selector.has_name()) return selector.name() == instance.name;
  if (selector.has_hostname()) return selector.hostname() == instance.hostname;
  const auto& fleet_instance = selector.fleet_instance();
  return fleet_instance.fleet().name() == instance.fleet_name &&
         static_cast<std::uint32_t>(fleet_instance.instance()) == instance.instance_num;
}

// Where a host may stand and what it may be called.
bool PlaceAllows(const config::v1::ProfileParams& profile,
                 const Instance& instance,
                 const Why& why) {
  const auto is_fleet = [&](const config::v1::EntityReference& fleet) {
    return fleet.name() == instance.fleet_name &&
           (fleet.project().empty() || fleet.project() == instance.project_name);
  };
  const auto& fleets = profile.fleets();
  if (!fleets.empty() && std::none_of(fleets.begin(), fleets.end(), is_fleet))
    return why.Not("is not in a fleet that the run names");
  const auto selects = [&](const config::v1::InstanceSelector& selector) {
    return Selects(selector, instance);
  };
  const auto& instances = profile.instances();
  if (!instances.empty() && std::none_of(instances.begin(), instances.end(), selects))
    return why.Not("is not an instance that the run names");
  return true;
}

}  // namespace

bool SelectorsAllow(const api::v1::RunSpec& spec, const Instance& instance, const Why& why) {
  const config::v1::ProfileParams& profile = spec.configuration().profile();
  if (!PlaceAllows(profile, instance, why)) return false;
  const auto& backends = profile.backends();
  if (!backends.empty() && !ContainsIgnoringCase(backends, "remote") &&
      !ContainsIgnoringCase(backends, "ssh")) {
    return why.Not([&] {
      return fmt::format("is of backend `remote`, the run names {}", Alternatives(backends));
    });
  }
  const auto& regions = profile.regions();
  if (!regions.empty() && !ContainsIgnoringCase(regions, "remote")) {
    return why.Not([&] {
      return fmt::format("is in region `remote`, the run names {}", Alternatives(regions));
    });
  }
  const auto& types = profile.instance_types();
  if (!types.empty() && !ContainsIgnoringCase(types, "instance")) {
    return why.Not([&] {
      return fmt::format("is of type `instance`, the run names {}", Alternatives(types));
    });
  }
  return profile.spot_policy() != config::v1::SPOT_POLICY_SPOT || why.Not("is no spot instance");
}

bool RuntimeAllows(const config::v1::RunConfiguration& configuration,
                   const Instance& instance,
                   const Why& why) {
  const bool is_arm =
      instance.resources && instance.resources->cpu_arch() == common::v1::CPU_ARCH_ARM;
  if (is_arm && instance.container_runtime != "process" && configuration.image().empty())
    return why.Not("is an arm host, the default image is for x86: name an `image`");
  const bool is_privileged = configuration.privileged() || configuration.docker();
  if (instance.container_runtime == "process") {
    if (!configuration.image().empty())
      return why.Not("has no container engine, the run names an image");
    if (is_privileged) return why.Not("has no container engine, the run is privileged");
    if (!configuration.volumes().empty())
      return why.Not("has no container engine, the run mounts volumes");
  }
  if (is_privileged && !instance.container_runtime.empty() && !instance.has_privileged) {
    return why.Not("cannot run privileged containers: its kernel keeps capabilities back");
  }
  return true;
}

bool ResourcesFit(const config::v1::Resources& wanted, const Share& have, const Why& why) {
  const auto arch = wanted.cpu().arch();
  // A host that does not say counts as x86.
  const bool is_arm = have.cpu_arch == common::v1::CPU_ARCH_ARM;
  if (arch != config::v1::CPU_ARCH_UNSPECIFIED && (arch == config::v1::CPU_ARCH_ARM) != is_arm) {
    return why.Not([&] {
      return fmt::format(
          "needs CPU architecture {}, has {}", is_arm ? "x86" : "arm", is_arm ? "arm" : "x86");
    });
  }
  return CountFits(wanted.cpu().count(), have.cpus, "CPU", why) &&
         SizeFits(wanted.memory(), have.memory_bytes, "memory", why) &&
         (!wanted.has_gpu() || GpusFit(wanted.gpu(), have, why)) &&
         (!wanted.has_disk() || have.disk_bytes == 0 ||
          SizeFits(wanted.disk().size(), have.disk_bytes, "disk", why));
}

bool NeedsWholeHost(const config::v1::RunConfiguration& configuration) {
  const auto& task = configuration.task();
  int nodes = task.nodes();
  for (const config::v1::NodeGroup& group : task.groups()) nodes += group.nodes();
  return nodes > 1;
}

}  // namespace dstack::server
