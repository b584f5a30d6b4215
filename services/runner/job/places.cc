#include "services/runner/job/places.h"

#include <charconv>
#include <cstdint>
#include <string_view>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/job/working_dir.h"

namespace dstack::runner {
namespace {

// Numbers of linux/capability.h.
constexpr std::uint64_t kChown = 1ULL << 0;
constexpr std::uint64_t kSetgid = 1ULL << 6;
constexpr std::uint64_t kSetuid = 1ULL << 7;

}  // namespace

bool CanSwitchUser() {
  const std::string status = base::ReadFile("/proc/self/status").value_or("");
  constexpr std::string_view kField = "CapEff:\t";
  const std::size_t at = status.find(kField);
  if (at == std::string::npos) return false;
  const char* begin = status.data() + at + kField.size();
  std::uint64_t effective = 0;
  std::from_chars(begin, status.data() + status.size(), effective, 16);
  constexpr std::uint64_t kNeeded = kChown | kSetgid | kSetuid;
  return (effective & kNeeded) == kNeeded;
}

absl::StatusOr<Places> ResolvePlaces(const v1::JobSpec& job,
                                     const ImageConfig& image,
                                     const std::string& initial_dir) {
  const UserFiles files = LoadUserFiles();
  const OwnUser own = GetOwnUser();
  Places places;
  places.can_switch = CanSwitchUser();
  ASSIGN_OR_RETURN(places.user, ResolveUser(job.user(), image.user, own, files));
  if (!places.can_switch && places.user.uid != own.uid) {
    const std::string wanted = places.user.name;
    ASSIGN_OR_RETURN(places.user, ResolveUser({}, "", own, files));
    places.user_note =
        fmt::format("the container may not switch to user {}, the command runs as {}",
                    wanted,
                    places.user.name);
  }
  ASSIGN_OR_RETURN(places.working_dir,
                   ResolvePath(job.working_dir(), initial_dir, places.user.home));
  return places;
}

}  // namespace dstack::runner
