#include "services/shim/update/release.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/file.h"

namespace dstack::shim {
namespace {

using nlohmann::json;

constexpr mode_t kMode = 0600;
constexpr char kRunnerFlag[] = "--runner-binary";
constexpr char kSshFlag[] = "--ssh-bundle-dir";

bool IsDigits(std::string_view text) {
  return text.size() == kDigestDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

json ToJson(const AgentSet& agents) {
  return {{"shim", agents.shim}, {"runner", agents.runner}, {"ssh", agents.ssh}};
}

AgentSet FromJson(const json& object) {
  AgentSet agents{
      .shim = object.at("shim"), .runner = object.at("runner"), .ssh = object.at("ssh")};
  for (const std::string& digits : {agents.shim, agents.runner, agents.ssh}) {
    // They become parts of paths.
    if (!digits.empty() && !IsDigits(digits)) throw json::other_error::create(501, digits, &object);
  }
  return agents;
}

void SetFlag(std::vector<std::string>* command, const std::string& flag, const std::string& value) {
  const auto it = std::find(command->begin(), command->end(), flag);
  if (it != command->end() && it + 1 != command->end()) {
    *(it + 1) = value;
  } else {
    command->insert(command->end(), {flag, value});
  }
}

}  // namespace

absl::StatusOr<std::optional<Release>> LoadRelease(const ShimHome& home) {
  const auto text = base::ReadFile(home.Release());
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) return text.status();
  const json object = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    Release release{.current = FromJson(object.at("current")),
                    .previous = FromJson(object.at("previous")),
                    .attempted = FromJson(object.at("attempted")),
                    .message = object.at("message")};
    const std::string state = object.at("state");
    if (!v1::UpgradeState_Parse(state, &release.state)) {
      return absl::DataLossError(fmt::format("{}: state \"{}\"", home.Release(), state));
    }
    return release;
  } catch (const json::exception& e) {
    return absl::DataLossError(fmt::format("{}: {}", home.Release(), e.what()));
  }
}

absl::Status SaveRelease(const ShimHome& home, const Release& release) {
  const json object = {{"current", ToJson(release.current)},
                       {"previous", ToJson(release.previous)},
                       {"attempted", ToJson(release.attempted)},
                       {"state", v1::UpgradeState_Name(release.state)},
                       {"message", release.message}};
  return base::WriteFileAtomic(
      home.Release(), object.dump(2, ' ', false, json::error_handler_t::replace) + "\n", kMode);
}

Release RolledBack(const Release& release, std::string message) {
  return {.current = release.previous,
          .previous = release.previous,
          .state = v1::UPGRADE_STATE_ROLLED_BACK,
          .attempted = release.current,
          .message = std::move(message)};
}

std::string ComponentPath(const ShimHome& home, v1::Component component, std::string_view digits) {
  switch (component) {
    case v1::COMPONENT_SHIM:
      return fmt::format("{}/dstack-shim-{}", home.Programs(), digits);
    case v1::COMPONENT_RUNNER:
      return fmt::format("{}/dstack-runner-{}", home.Programs(), digits);
    default:
      return fmt::format("{}/ssh-{}", home.root(), digits);
  }
}

std::string DigitsOfPath(std::string_view path) {
  const std::size_t dash = path.rfind('-');
  if (dash == std::string_view::npos || !IsDigits(path.substr(dash + 1))) return "";
  return std::string(path.substr(dash + 1));
}

std::vector<std::string> CommandFor(std::vector<std::string> given,
                                    const ShimHome& home,
                                    const AgentSet& agents) {
  if (!agents.shim.empty()) given[0] = ComponentPath(home, v1::COMPONENT_SHIM, agents.shim);
  if (!agents.runner.empty()) {
    SetFlag(&given, kRunnerFlag, ComponentPath(home, v1::COMPONENT_RUNNER, agents.runner));
  }
  if (!agents.ssh.empty()) {
    SetFlag(&given, kSshFlag, ComponentPath(home, v1::COMPONENT_SSH, agents.ssh));
  }
  return given;
}

std::vector<v1::ComponentDigest> ToProto(const AgentSet& agents) {
  std::vector<v1::ComponentDigest> digests;
  const auto add = [&](v1::Component component, const std::string& digits) {
    v1::ComponentDigest digest;
    digest.set_component(component);
    digest.set_sha256(digits);
    digests.push_back(std::move(digest));
  };
  add(v1::COMPONENT_SHIM, agents.shim);
  add(v1::COMPONENT_RUNNER, agents.runner);
  if (!agents.ssh.empty()) add(v1::COMPONENT_SSH, agents.ssh);
  return digests;
}

v1::UpgradeStatus ToProto(const Release& release) {
  v1::UpgradeStatus status;
  status.set_state(release.state);
  for (v1::ComponentDigest& digest : ToProto(release.attempted)) {
    *status.add_components() = std::move(digest);
  }
  status.set_message(release.message);
  return status;
}

}  // namespace dstack::shim
