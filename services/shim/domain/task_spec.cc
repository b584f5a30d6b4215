#include "services/shim/domain/task_spec.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include <absl/strings/ascii.h>
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "services/shim/domain/authorized_keys.h"

namespace dstack::shim {
namespace {

using base::FieldViolation;
using Violations = std::vector<FieldViolation>;

constexpr std::size_t kMaxNameBytes = 60;
constexpr std::size_t kMaxImageBytes = 512;
constexpr std::size_t kMaxKeyBytes = 16 << 10;
constexpr std::size_t kMinTokenBytes = 32;
constexpr std::size_t kMaxAuthBytes = std::size_t{64} << 10;

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), absl::ascii_iscntrl);
}

// Values of users go into messages: short, and without anything that moves a cursor.
std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, 80));
  std::replace_if(shown.begin(), shown.end(), absl::ascii_iscntrl, '?');
  return text.size() > 80 ? shown + "..." : shown;
}

void CheckName(const v1::TaskSpec& spec, Violations& violations) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  const std::string& name = spec.name();
  const bool is_good = !name.empty() && name.size() <= kMaxNameBytes && name.front() != '-' &&
                       std::all_of(name.begin(), name.end(), is_allowed);
  if (is_good) return;
  violations.push_back(
      {"name",
       fmt::format("\"{}\" must be 1 to {} characters of a-z, 0-9 and '-', not beginning with '-'",
                   Shown(name),
                   kMaxNameBytes)});
}

void CheckImage(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  const std::string& image = spec.image();
  if (image.empty()) {
    if (host.has_images && !host.has_base_image) {
      violations.push_back({"image", "is empty, and this host has no base image (--base-image)"});
    }
    return;
  }
  if (!host.has_images) {
    violations.push_back(
        {"image",
         fmt::format("\"{}\" cannot run: this host has no container engine", Shown(image))});
  }
  const bool has_space = image.find(' ') != image.npos;
  if (image.size() > kMaxImageBytes || HasControl(image) || has_space || image.front() == '-') {
    violations.push_back({"image", fmt::format("\"{}\" is not an image reference", Shown(image))});
  }
}

bool IsAbsolute(const std::string& path) {
  return path.starts_with('/') && path.find('\0') == path.npos;
}

void CheckPath(const std::string& field, const std::string& path, Violations& violations) {
  if (IsAbsolute(path)) return;
  violations.push_back({field, fmt::format("\"{}\" must be an absolute path", Shown(path))});
}

void CheckMounts(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  if (!host.has_mounts && spec.mounts_size() > 0) {
    violations.push_back({"mounts", "are not possible on a host without a container engine"});
  }
  for (int i = 0; i < spec.mounts_size(); ++i) {
    const std::string& path = spec.mounts(i).host_path();
    const std::string field = fmt::format("mounts[{}].host_path", i);
    CheckPath(field, path, violations);
    if (IsAbsolute(path) && TouchesProtectedPath(path, host)) {
      violations.push_back(
          {field, fmt::format("\"{}\" would open the host's agent to the task", Shown(path))});
    }
    CheckPath(
        fmt::format("mounts[{}].container_path", i), spec.mounts(i).container_path(), violations);
  }
}

void CheckDevices(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  if (!host.has_mounts && spec.devices_size() > 0) {
    violations.push_back({"devices", "are not possible on a host without a container engine"});
  }
  for (int i = 0; i < spec.devices_size(); ++i) {
    const std::string& path = spec.devices(i).path_on_host();
    const bool is_device = path.starts_with("/dev/") && path.size() > 5 && IsAbsolute(path) &&
                           path.find("/..") == path.npos && path.find("/.") == path.npos;
    if (!is_device) {
      violations.push_back({fmt::format("devices[{}].path_on_host", i),
                            fmt::format("\"{}\" must be a path below /dev", Shown(path))});
    }
    const std::string& inside = spec.devices(i).path_in_container();
    if (!inside.empty()) {
      CheckPath(fmt::format("devices[{}].path_in_container", i), inside, violations);
    }
  }
}

bool IsVolumeName(std::string_view name) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), is_allowed);
}

// Device names become arguments of programs and names of files.
bool IsDeviceWord(std::string_view text) {
  return !text.empty() && text.size() <= 128 && text.front() != '-' && !HasControl(text) &&
         text.find_first_of("/ ") == text.npos && text.find("..") == text.npos;
}

std::string VolumeDefect(const v1::VolumeMount& volume, std::string* field) {
  const std::string& device = volume.device_name();
  const bool is_path =
      device.starts_with("/dev/") && !HasControl(device) && device.find("..") == device.npos;
  if (volume.backend() == "aws") {
    *field = "volume_id";
    if (!volume.volume_id().starts_with("vol-") || !IsDeviceWord(volume.volume_id())) {
      return fmt::format("\"{}\" must be vol-...", Shown(volume.volume_id()));
    }
    *field = "device_name";
    if (!device.empty() && !is_path) {
      return fmt::format("\"{}\" must be a path below /dev, or empty", Shown(device));
    }
    return "";
  }
  *field = "device_name";
  if (volume.backend() == "gcp") {
    return IsDeviceWord(device) ? "" : fmt::format("\"{}\" must be a disk's name", Shown(device));
  }
  if (volume.backend().empty()) {
    return is_path ? "" : fmt::format("\"{}\" must be a path below /dev", Shown(device));
  }
  *field = "backend";
  return fmt::format("\"{}\" must be aws, gcp or empty", Shown(volume.backend()));
}

void CheckVolumes(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  if (!host.has_mounts && spec.volumes_size() > 0) {
    violations.push_back({"volumes", "are not possible on a host without a container engine"});
  }
  for (int i = 0; i < spec.volumes_size(); ++i) {
    const v1::VolumeMount& volume = spec.volumes(i);
    if (!IsVolumeName(volume.name())) {
      violations.push_back(
          {fmt::format("volumes[{}].name", i),
           fmt::format("\"{}\" must be 1 to {} characters of a-z, 0-9, '-' and '_'",
                       Shown(volume.name()),
                       kMaxNameBytes)});
    }
    std::string field;
    if (const std::string defect = VolumeDefect(volume, &field); !defect.empty()) {
      violations.push_back({fmt::format("volumes[{}].{}", i, field), defect});
    }
    CheckPath(fmt::format("volumes[{}].container_path", i), volume.container_path(), violations);
  }
}

void CheckTargets(const v1::TaskSpec& spec, Violations& violations) {
  std::set<std::string> seen;
  const auto check = [&](const std::string& field, const std::string& path) {
    if (seen.insert(path).second) return;
    violations.push_back({field, fmt::format("\"{}\" is mounted twice", Shown(path))});
  };
  for (int i = 0; i < spec.mounts_size(); ++i) {
    check(fmt::format("mounts[{}].container_path", i), spec.mounts(i).container_path());
  }
  for (int i = 0; i < spec.volumes_size(); ++i) {
    check(fmt::format("volumes[{}].container_path", i), spec.volumes(i).container_path());
  }
}

void CheckPorts(const v1::TaskSpec& spec, Violations& violations) {
  const bool is_bridge = spec.network_mode() == v1::NETWORK_MODE_BRIDGE;
  if (!is_bridge && spec.published_ports_size() > 0) {
    violations.push_back(
        {"published_ports", "need network_mode bridge: with host every port is the host's own"});
  }
  constexpr std::uint32_t kMaxPort = 65535;
  std::set<std::uint32_t> inside;
  for (int i = 0; i < spec.published_ports_size(); ++i) {
    const v1::PortMapping& port = spec.published_ports(i);
    if (port.container_port() == 0 || port.container_port() > kMaxPort) {
      violations.push_back({fmt::format("published_ports[{}].container_port", i),
                            fmt::format("{} must be 1 to 65535", port.container_port())});
    } else if (!inside.insert(port.container_port()).second) {
      violations.push_back({fmt::format("published_ports[{}].container_port", i),
                            fmt::format("{} is published twice", port.container_port())});
    }
    if (port.host_port() > kMaxPort) {
      violations.push_back({fmt::format("published_ports[{}].host_port", i),
                            fmt::format("{} must be 0 to 65535", port.host_port())});
    }
  }
}

void CheckCapabilities(const v1::TaskSpec& spec,
                       const HostAbilities& host,
                       Violations& violations) {
  const auto is_allowed = [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; };
  for (int i = 0; i < spec.capabilities_size(); ++i) {
    const std::string& name = spec.capabilities(i);
    const std::string field = fmt::format("capabilities[{}]", i);
    const std::string full = fmt::format("CAP_{}", BareCapability(name));
    if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), is_allowed)) {
      violations.push_back(
          {field, fmt::format("\"{}\" must be a capability such as SYS_PTRACE", Shown(name))});
    } else if (!host.has_images) {
      violations.push_back({field, "is not possible on a host without a container engine"});
    } else if (std::find(host.missing_capabilities.begin(),
                         host.missing_capabilities.end(),
                         full) != host.missing_capabilities.end()) {
      violations.push_back(
          {field, fmt::format("{} is refused on this host: the kernel does not give it", full)});
    }
  }
}

void CheckEnvAndLabels(const v1::TaskSpec& spec, Violations& violations) {
  for (const auto& [name, value] : spec.env()) {
    const bool is_good = !name.empty() && name.find('=') == name.npos && !HasControl(name) &&
                         value.find('\0') == value.npos;
    if (!is_good) {
      violations.push_back({fmt::format("env[{}]", Shown(name)),
                            "must be a name without '=' and a value without NUL"});
    }
  }
  for (const auto& [key, value] : spec.labels()) {
    if (!key.empty() && !key.starts_with("ai.dstack.") && !HasControl(key) && !HasControl(value)) {
      continue;
    }
    violations.push_back({fmt::format("labels[{}]", Shown(key)),
                          "must be a key outside of ai.dstack., on one line as its value"});
  }
}

void CheckHostKeys(const v1::TaskSpec& spec, Violations& violations) {
  const std::string& user = spec.host_ssh_user();
  const bool is_name = user.size() <= 64 && !HasControl(user) && !user.starts_with('-') &&
                       user.find_first_of(":/ ") == user.npos;
  if (!is_name) {
    violations.push_back(
        {"host_ssh_user", fmt::format("\"{}\" is not the name of an account", Shown(user))});
  }
  if (user.empty() && spec.host_ssh_keys_size() > 0) {
    violations.push_back({"host_ssh_user", "must be given with host_ssh_keys"});
  }
  for (int i = 0; i < spec.host_ssh_keys_size(); ++i) {
    if (ParsePublicKey(spec.host_ssh_keys(i))) continue;
    violations.push_back({fmt::format("host_ssh_keys[{}]", i),
                          "must be one public key: type, base64 and perhaps a comment"});
  }
}

void CheckRegistryAuth(const v1::TaskSpec& spec, Violations& violations) {
  const v1::RegistryAuth& auth = spec.registry_auth();
  const bool has_name = !auth.username().empty() || !auth.password().empty();
  const int kinds =
      int{has_name} + int{!auth.identity_token().empty()} + int{!auth.docker_config().empty()};
  if (kinds > 1) {
    violations.push_back(
        {"registry_auth",
         "must be name and password, or identity_token, or docker_config; not several"});
  }
  if (auth.username().empty() && !auth.password().empty()) {
    violations.push_back({"registry_auth.username", "must be given with a password"});
  }
  const std::pair<const char*, const std::string*> texts[] = {
      {"username", &auth.username()},
      {"password", &auth.password()},
      {"identity_token", &auth.identity_token()},
      {"docker_config", &auth.docker_config()}};
  for (const auto& [name, text] : texts) {
    if (text->size() > kMaxAuthBytes) {
      violations.push_back({fmt::format("registry_auth.{}", name),
                            fmt::format("must not be longer than {} bytes", kMaxAuthBytes)});
    }
  }
}

void CheckSecrets(const v1::TaskSpec& spec, Violations& violations) {
  const auto is_bad = [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c)) || c == ' ' || (c & 0x80) != 0;
  };
  const std::string& token = spec.runner_token();
  if (token.size() < kMinTokenBytes || std::any_of(token.begin(), token.end(), is_bad)) {
    violations.push_back(
        {"runner_token",
         fmt::format("must be at least {} printable characters without spaces", kMinTokenBytes)});
  }
  for (int i = 0; i < spec.container_ssh_keys_size(); ++i) {
    const std::string& key = spec.container_ssh_keys(i);
    if (!key.empty() && key.size() <= kMaxKeyBytes && !HasControl(key)) continue;
    violations.push_back(
        {fmt::format("container_ssh_keys[{}]", i), "must be one line of an authorized_keys file"});
  }
}

// Only the superuser or a number: names belong to the image and cannot be looked up here.
bool IsUser(std::string_view user) {
  if (user.empty() || user == "root") return true;
  const auto is_allowed = [](char c) { return (c >= '0' && c <= '9') || c == ':'; };
  return std::all_of(user.begin(), user.end(), is_allowed) && user.front() != ':' &&
         user.back() != ':' && std::count(user.begin(), user.end(), ':') <= 1;
}

void CheckRest(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  if (spec.gpu_count() < -1) {
    violations.push_back(
        {"gpu_count", fmt::format("{} must be -1 (all), 0 or above", spec.gpu_count())});
  }
  const bool has_mode = spec.network_mode() == v1::NETWORK_MODE_HOST ||
                        spec.network_mode() == v1::NETWORK_MODE_BRIDGE;
  if (!has_mode) {
    violations.push_back(
        {"network_mode", fmt::format("{} must be host or bridge", int{spec.network_mode()})});
  }
  for (const auto& [field, is_asked] : {std::pair{"is_privileged", spec.is_privileged()},
                                        std::pair{"needs_docker", spec.needs_docker()}}) {
    if (!is_asked || host.has_privileged) continue;
    violations.push_back(
        {field, fmt::format("true is refused on this host: {}", host.privileged_hint)});
  }
  if (!IsUser(spec.container_user())) {
    violations.push_back(
        {"container_user",
         fmt::format("\"{}\" must be root, uid or uid:gid", Shown(spec.container_user()))});
  }
}

}  // namespace

absl::Status ValidateSpec(const v1::TaskSpec& spec, const HostAbilities& host) {
  Violations violations;
  if (!IsTaskId(spec.task_id())) {
    violations.push_back(
        {"task_id", fmt::format("\"{}\" must be a UUID in lower case", Shown(spec.task_id()))});
  }
  CheckName(spec, violations);
  CheckImage(spec, host, violations);
  CheckMounts(spec, host, violations);
  CheckDevices(spec, host, violations);
  CheckVolumes(spec, host, violations);
  CheckTargets(spec, violations);
  CheckPorts(spec, violations);
  CheckCapabilities(spec, host, violations);
  CheckEnvAndLabels(spec, violations);
  CheckHostKeys(spec, violations);
  CheckRegistryAuth(spec, violations);
  CheckSecrets(spec, violations);
  CheckRest(spec, host, violations);
  return base::InvalidFields(violations);
}

std::string_view BareCapability(std::string_view name) {
  if (name.starts_with("CAP_")) name.remove_prefix(4);
  return name;
}

bool TouchesProtectedPath(const std::string& path, const HostAbilities& host) {
  const auto with_slash = [](const std::string& text) {
    const std::string plain = std::filesystem::path(text).lexically_normal().string();
    return plain.ends_with('/') ? plain : plain + "/";
  };
  const std::string mounted = with_slash(path);
  return std::any_of(
      host.protected_paths.begin(), host.protected_paths.end(), [&](const std::string& text) {
        const std::string kept = with_slash(text);
        return mounted.starts_with(kept) || kept.starts_with(mounted);
      });
}

bool IsTaskId(std::string_view text) {
  const bool has_upper =
      std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'F'; });
  return base::IsUuid(text) && !has_upper;
}

bool IsSameSpec(const v1::TaskSpec& a, const v1::TaskSpec& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

}  // namespace dstack::shim
