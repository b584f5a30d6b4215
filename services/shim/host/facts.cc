#include "services/shim/host/facts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/base/version.h"

namespace dstack::shim {
namespace {

// By number, from linux/capability.h.
constexpr std::array<std::string_view, 41> kCapabilities = {"CAP_CHOWN",
                                                            "CAP_DAC_OVERRIDE",
                                                            "CAP_DAC_READ_SEARCH",
                                                            "CAP_FOWNER",
                                                            "CAP_FSETID",
                                                            "CAP_KILL",
                                                            "CAP_SETGID",
                                                            "CAP_SETUID",
                                                            "CAP_SETPCAP",
                                                            "CAP_LINUX_IMMUTABLE",
                                                            "CAP_NET_BIND_SERVICE",
                                                            "CAP_NET_BROADCAST",
                                                            "CAP_NET_ADMIN",
                                                            "CAP_NET_RAW",
                                                            "CAP_IPC_LOCK",
                                                            "CAP_IPC_OWNER",
                                                            "CAP_SYS_MODULE",
                                                            "CAP_SYS_RAWIO",
                                                            "CAP_SYS_CHROOT",
                                                            "CAP_SYS_PTRACE",
                                                            "CAP_SYS_PACCT",
                                                            "CAP_SYS_ADMIN",
                                                            "CAP_SYS_BOOT",
                                                            "CAP_SYS_NICE",
                                                            "CAP_SYS_RESOURCE",
                                                            "CAP_SYS_TIME",
                                                            "CAP_SYS_TTY_CONFIG",
                                                            "CAP_MKNOD",
                                                            "CAP_LEASE",
                                                            "CAP_AUDIT_WRITE",
                                                            "CAP_AUDIT_CONTROL",
                                                            "CAP_SETFCAP",
                                                            "CAP_MAC_OVERRIDE",
                                                            "CAP_MAC_ADMIN",
                                                            "CAP_SYSLOG",
                                                            "CAP_WAKE_ALARM",
                                                            "CAP_BLOCK_SUSPEND",
                                                            "CAP_AUDIT_READ",
                                                            "CAP_PERFMON",
                                                            "CAP_BPF",
                                                            "CAP_CHECKPOINT_RESTORE"};

std::uint32_t CountCpus() {
  // More than the 1024 of cpu_set_t, as large machines have.
  constexpr int kMaxCpus = 8192;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(
      CPU_ALLOC(kMaxCpus), [](cpu_set_t* mask) { CPU_FREE(mask); });
  const std::size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  if (!set || ::sched_getaffinity(0, size, set.get()) != 0) return 1;
  return static_cast<std::uint32_t>(CPU_COUNT_S(size, set.get()));
}

// Small writes are no news.
constexpr std::uint64_t kDiskStep = std::uint64_t{1} << 30;

void ReadDisk(const std::string& path, v1::HostFacts* facts) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return;
  facts->mutable_resources()->set_disk_bytes(std::uint64_t{info.f_blocks} * info.f_frsize);
  const std::uint64_t free = std::uint64_t{info.f_bavail} * info.f_frsize;
  facts->set_disk_free_bytes(free / kDiskStep * kDiskStep);
}

std::string BootId() {
  const std::string text = base::ReadFile("/proc/sys/kernel/random/boot_id").value_or("");
  return std::string(base::ToStd(absl::StripAsciiWhitespace(text)));
}

common::v1::CpuArch ArchOf(std::string_view machine) {
  if (machine == "x86_64") return common::v1::CPU_ARCH_X86;
  if (machine == "aarch64") return common::v1::CPU_ARCH_ARM;
  return common::v1::CPU_ARCH_UNSPECIFIED;
}

// "10.0.0.5/24", or nothing for an address that nobody else could use.
std::string Cidr(const ifaddrs& interface) {
  char text[INET6_ADDRSTRLEN] = {};
  int prefix = 0;
  if (interface.ifa_addr->sa_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(interface.ifa_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in*>(interface.ifa_netmask);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
    prefix = std::popcount(mask->sin_addr.s_addr);
  } else if (interface.ifa_addr->sa_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(interface.ifa_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in6*>(interface.ifa_netmask);
    if (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr)) return "";
    ::inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
    for (const std::uint8_t byte : mask->sin6_addr.s6_addr) prefix += std::popcount(byte);
  } else {
    return "";
  }
  return fmt::format("{}/{}", text, prefix);
}

}  // namespace

bool IsEngineInterface(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kPrefixes = {"docker", "veth", "br-", "virbr"};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](std::string_view prefix) {
    return name.starts_with(prefix);
  });
}

std::uint64_t MeminfoBytes(std::string_view meminfo, std::string_view key) {
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(meminfo), '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ':');
    if (parts.size() != 2 || base::ToStd(parts[0]) != key) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(absl::StripAsciiWhitespace(parts[1]), ' ');
    std::uint64_t kibibytes = 0;
    return absl::SimpleAtoi(words[0], &kibibytes) ? kibibytes * 1024 : 0;
  }
  return 0;
}

std::vector<std::string> MissingCapabilities(std::string_view proc_status, int last_capability) {
  std::uint64_t bounding = ~std::uint64_t{0};
  for (const absl::string_view line : absl::StrSplit(base::ToAbsl(proc_status), '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ":\t");
    if (parts.size() != 2 || parts[0] != "CapBnd") continue;
    if (!absl::SimpleHexAtoi(parts[1], &bounding)) return {};
  }
  std::vector<std::string> missing;
  const int last = std::min(last_capability, static_cast<int>(kCapabilities.size()) - 1);
  for (int i = 0; i <= last; ++i) {
    if ((bounding >> i & 1) == 0) missing.emplace_back(kCapabilities[static_cast<std::size_t>(i)]);
  }
  return missing;
}

std::vector<std::string> MissingCapabilitiesHere() {
  int last = 0;
  if (!absl::SimpleAtoi(base::ReadFile("/proc/sys/kernel/cap_last_cap").value_or(""), &last)) {
    return {};
  }
  return MissingCapabilities(base::ReadFile("/proc/self/status").value_or(""), last);
}

std::vector<std::string> HostAddresses() {
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, ::freeifaddrs);
  std::vector<std::string> addresses;
  for (const ifaddrs* item = list.get(); item != nullptr; item = item->ifa_next) {
    const bool is_usable = item->ifa_addr != nullptr && item->ifa_netmask != nullptr &&
                           (item->ifa_flags & IFF_UP) != 0 && (item->ifa_flags & IFF_LOOPBACK) == 0;
    if (!is_usable || IsEngineInterface(item->ifa_name)) continue;
    if (std::string cidr = Cidr(*item); !cidr.empty()) addresses.push_back(std::move(cidr));
  }
  return addresses;
}

v1::HostFacts ReadHostFacts(const RuntimeFacts& runtime, const std::vector<common::v1::Gpu>& gpus) {
  v1::HostFacts facts;
  utsname kernel{};
  ::uname(&kernel);
  auto* resources = facts.mutable_resources();
  resources->set_cpus(CountCpus());
  resources->set_cpu_arch(ArchOf(kernel.machine));
  resources->set_memory_bytes(
      MeminfoBytes(base::ReadFile("/proc/meminfo").value_or(""), "MemTotal"));
  ReadDisk(runtime.data_dir, &facts);
  for (const common::v1::Gpu& gpu : gpus) *resources->add_gpus() = gpu;
  facts.set_hostname(kernel.nodename);
  for (const std::string& address : HostAddresses()) facts.add_addresses(address);
  facts.set_container_runtime(runtime.kind);
  facts.set_container_runtime_version(runtime.version);
  facts.set_kernel_version(kernel.release);
  facts.set_cgroup_version(runtime.cgroup_version);
  facts.set_shim_version(std::string(base::Version()));
  facts.set_boot_id(BootId());
  for (const std::string& name : runtime.oci_runtimes) facts.add_oci_runtimes(name);
  for (const std::string& name : MissingCapabilitiesHere()) facts.add_missing_capabilities(name);
  return facts;
}

}  // namespace dstack::shim
