#include "clients/cli/commands/profiles.h"

#include <vector>

#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/document.h"

namespace dstack::cli {
namespace {

using config::v1::Profile;

absl::StatusOr<std::optional<config::v1::ProfilesFile>> ReadProfiles(const std::string& directory) {
  for (const char* name : {"profiles.yml", "profiles.yaml"}) {
    const std::string path = base::JoinPath(directory, name);
    const auto text = base::ReadFile(path, 1 << 20);
    if (absl::IsNotFound(text.status())) continue;
    if (!text.ok()) return text.status();
    ASSIGN_OR_RETURN(const config::v1::ProfilesFile file, config::ParseProfiles(*text, path));
    return file;
  }
  return std::nullopt;
}

// Order of the specification: --no-profile, --profile, then the variables in the same order.
std::optional<std::string> WantedName(const Environment& environment, const std::string& name) {
  if (!name.empty()) return name;
  return environment.Get("DSTACK_PROFILE");
}

// DSTACK_NO_PROFILE: `1`, `true` and `on`, or `0`, `false` and `off`.
absl::StatusOr<bool> IsOffByVariable(const Environment& environment) {
  const std::optional<std::string> value = environment.Get("DSTACK_NO_PROFILE");
  if (!value.has_value()) return false;
  for (const char* yes : {"1", "true", "on"}) {
    if (*value == yes) return true;
  }
  for (const char* no : {"0", "false", "off"}) {
    if (*value == no) return false;
  }
  return base::InvalidField(
      "DSTACK_NO_PROFILE",
      fmt::format("must be `1`, `true` or `on`, or `0`, `false` or `off` (`{}`)", *value));
}

}  // namespace

absl::StatusOr<std::optional<Profile>> ChooseProfile(const Environment& environment,
                                                     const std::string& name,
                                                     bool is_disabled) {
  ASSIGN_OR_RETURN(const bool is_off_by_variable, IsOffByVariable(environment));
  if (is_disabled || (name.empty() && is_off_by_variable)) return std::nullopt;
  const std::optional<std::string> wanted = WantedName(environment, name);
  const std::vector<std::string> directories{
      base::JoinPath(environment.working_directory, ".dstack"), environment.DstackHome()};
  for (const std::string& directory : directories) {
    ASSIGN_OR_RETURN(const auto file, ReadProfiles(directory));
    if (!file.has_value()) continue;
    for (const Profile& profile : file->profiles()) {
      const bool is_match = wanted.has_value() ? profile.name() == *wanted : profile.is_default();
      if (is_match) return profile;
    }
  }
  if (wanted.has_value()) {
    return absl::NotFoundError(fmt::format("{}: there is no profile `{}` in {} or {}",
                                           name.empty() ? "DSTACK_PROFILE" : "--profile",
                                           *wanted,
                                           base::JoinPath(directories[0], "profiles.yml"),
                                           base::JoinPath(directories[1], "profiles.yml")));
  }
  return std::nullopt;
}

}  // namespace dstack::cli
