#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/shim/v1/upgrade.pb.h"

#include "services/shim/domain/shim_home.h"

namespace dstack::shim {

// The components that belong together, each as the first kDigestDigits digits of its SHA-256. An
// empty one: that of the command line.
struct AgentSet {
  std::string shim;
  std::string runner;
  std::string ssh;

  bool operator==(const AgentSet&) const = default;
};

inline constexpr std::size_t kDigestDigits = 12;

// Which components run, and how the last change of them went. Kept in a file of the home that both
// the supervisor and the shim write, never at the same time: the shim before it leaves and when its
// trial is over, the supervisor while no shim runs.
struct Release {
  AgentSet current;
  // Run again when the trial fails; a default one means the command line.
  AgentSet previous;
  v1::UpgradeState state = v1::UPGRADE_STATE_UNSPECIFIED;
  // What was tried last; differs from current after a roll back.
  AgentSet attempted;
  // Why it was rolled back.
  std::string message;

  bool is_on_trial() const { return state == v1::UPGRADE_STATE_ACTIVATING; }
};

// Nothing when components were never changed. DATA_LOSS when the file makes no sense.
absl::StatusOr<std::optional<Release>> LoadRelease(const ShimHome& home);
absl::Status SaveRelease(const ShimHome& home, const Release& release);

// Pure: the release after a trial that failed for this reason.
Release RolledBack(const Release& release, std::string message);

// Where a component lies: the same names that the server gives at the first installation.
std::string ComponentPath(const ShimHome& home, v1::Component component, std::string_view digits);

// "0123456789ab" of ".../dstack-shim-0123456789ab"; empty for any other name.
std::string DigitsOfPath(std::string_view path);

// Pure: the command line that runs these components, made from the one that was given to the
// supervisor (the program first).
std::vector<std::string> CommandFor(std::vector<std::string> given,
                                    const ShimHome& home,
                                    const AgentSet& agents);

// For the wire; digests are cut to the digits that are known.
std::vector<v1::ComponentDigest> ToProto(const AgentSet& agents);
v1::UpgradeStatus ToProto(const Release& release);

}  // namespace dstack::shim
