#include "services/shim/domain/task_spec.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include "libs/base/status.h"
#include "libs/base/uuid.h"

namespace dstack::shim {
namespace {

using base::FieldViolation;
using Violations = std::vector<FieldViolation>;

constexpr std::size_t kMaxNameBytes = 60;
constexpr std::size_t kMaxImageBytes = 512;
constexpr std::size_t kMaxKeyBytes = 16 << 10;
constexpr std::size_t kMinTokenBytes = 32;

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

bool HasControl(std::string_view text) { return std::any_of(text.begin(), text.end(), IsControl); }

// Values of users go into messages: short, and without anything that moves a cursor.
std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, 80));
  std::replace_if(shown.begin(), shown.end(), IsControl, '?');
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

void CheckMounts(const v1::TaskSpec& spec, const HostAbilities& host, Violations& violations) {
  if (!host.has_mounts && spec.mounts_size() > 0) {
    violations.push_back({"mounts", "are not possible on a host without a container engine"});
  }
  const auto check_path = [&](int i, std::string_view field, const std::string& path) {
    if (path.starts_with('/') && path.find('\0') == path.npos) return;
    violations.push_back({fmt::format("mounts[{}].{}", i, field),
                          fmt::format("\"{}\" must be an absolute path", Shown(path))});
  };
  for (int i = 0; i < spec.mounts_size(); ++i) {
    check_path(i, "host_path", spec.mounts(i).host_path());
    check_path(i, "container_path", spec.mounts(i).container_path());
  }
}

void CheckSecrets(const v1::TaskSpec& spec, Violations& violations) {
  const auto is_bad = [](char c) { return IsControl(c) || c == ' ' || (c & 0x80) != 0; };
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
  if (spec.is_privileged() && !host.has_privileged) {
    violations.push_back(
        {"is_privileged", fmt::format("true is refused on this host: {}", host.privileged_hint)});
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
  CheckSecrets(spec, violations);
  CheckRest(spec, host, violations);
  return base::InvalidFields(violations);
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
