#include "services/runner/job/user_lookup.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <functional>
#include <optional>

#include <absl/strings/str_split.h>
#include <grp.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

using Fields = std::vector<std::string>;

std::optional<std::uint32_t> ParseId(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

// First line with at least `count` fields that fits.
std::optional<Fields> FindLine(const std::string& file,
                               std::size_t count,
                               const std::function<bool(const Fields&)>& fits) {
  for (absl::string_view line : absl::StrSplit(file, '\n')) {
    Fields fields = absl::StrSplit(line, ':');
    if (fields.size() >= count && fits(fields)) return fields;
  }
  return std::nullopt;
}

std::optional<Fields> PasswdByName(const UserFiles& files, std::string_view name) {
  return FindLine(files.passwd, 6, [&](const Fields& f) { return f[0] == name; });
}

std::optional<Fields> PasswdById(const UserFiles& files, uid_t uid) {
  return FindLine(files.passwd, 6, [&](const Fields& f) { return ParseId(f[2]) == uid; });
}

std::vector<gid_t> SupplementaryGroups(const UserFiles& files, const std::string& name) {
  std::vector<gid_t> groups;
  FindLine(files.group, 4, [&](const Fields& fields) {
    const std::vector<std::string> members = absl::StrSplit(fields[3], ',');
    const auto gid = ParseId(fields[2]);
    if (gid && std::find(members.begin(), members.end(), name) != members.end()) {
      groups.push_back(*gid);
    }
    return false;  // look at every line
  });
  return groups;
}

void SortGroups(JobUser* user) {
  user->groups.push_back(user->gid);
  std::sort(user->groups.begin(), user->groups.end());
  user->groups.erase(std::unique(user->groups.begin(), user->groups.end()), user->groups.end());
}

JobUser FromPasswd(const Fields& entry, const UserFiles& files) {
  JobUser user;
  user.name = entry[0];
  user.uid = ParseId(entry[2]).value_or(0);
  user.gid = ParseId(entry[3]).value_or(0);
  user.home = entry[5];
  user.groups = SupplementaryGroups(files, user.name);
  return user;
}

JobUser FromUid(uid_t uid, const UserFiles& files) {
  if (const auto entry = PasswdById(files, uid)) return FromPasswd(*entry, files);
  return {.uid = uid, .gid = 0, .groups = {}, .name = std::to_string(uid), .home = ""};
}

JobUser FromOwn(const OwnUser& own, const UserFiles& files) {
  JobUser user = FromUid(own.uid, files);
  user.gid = own.gid;
  user.groups = own.groups;
  return user;
}

absl::StatusOr<JobUser> FromName(const std::string& name, const UserFiles& files) {
  if (const auto entry = PasswdByName(files, name)) return FromPasswd(*entry, files);
  return base::InvalidField("user.username",
                            fmt::format("user {:?} is not in the container's /etc/passwd", name));
}

absl::StatusOr<gid_t> GroupId(const std::string& name, const UserFiles& files) {
  const auto entry = FindLine(files.group, 3, [&](const Fields& f) { return f[0] == name; });
  if (entry) {
    if (const auto gid = ParseId((*entry)[2])) return *gid;
  }
  return base::InvalidField("user.groupname",
                            fmt::format("group {:?} is not in the container's /etc/group", name));
}

// The image's USER as a wish.
v1::UserSpec ParseImageUser(std::string_view text) {
  v1::UserSpec spec;
  const std::size_t colon = text.find(':');
  const std::string user(text.substr(0, colon));
  if (const auto uid = ParseId(user)) {
    spec.set_uid(*uid);
  } else if (!user.empty()) {
    spec.set_username(user);
  }
  if (colon == std::string_view::npos || colon + 1 == text.size()) return spec;
  const std::string group(text.substr(colon + 1));
  if (const auto gid = ParseId(group)) {
    spec.set_gid(*gid);
  } else {
    spec.set_groupname(group);
  }
  return spec;
}

bool IsEmpty(const v1::UserSpec& spec) {
  return !spec.has_uid() && !spec.has_username() && !spec.has_gid() && !spec.has_groupname();
}

// A home that cannot be one becomes "/". One that does not exist may be made by the job, unless its
// name says that it never will ("/nonexistent" of system users).
std::string UsableHome(const std::string& home) {
  if (home.empty() || home.front() != '/') return "/";
  return home.find("nonexistent") == std::string::npos ? home : "/";
}

}  // namespace

UserFiles LoadUserFiles(const std::string& etc) {
  return {base::ReadFile(etc + "/passwd").value_or(""),
          base::ReadFile(etc + "/group").value_or("")};
}

OwnUser GetOwnUser() {
  OwnUser own{.uid = geteuid(), .gid = getegid(), .groups = {}};
  const int count = getgroups(0, nullptr);
  own.groups.resize(static_cast<std::size_t>(std::max(count, 0)));
  const int got = getgroups(static_cast<int>(own.groups.size()), own.groups.data());
  own.groups.resize(static_cast<std::size_t>(std::max(got, 0)));
  return own;
}

absl::StatusOr<JobUser> ResolveUser(const v1::UserSpec& wish,
                                    std::string_view image_user,
                                    const OwnUser& own,
                                    const UserFiles& files) {
  const v1::UserSpec spec = IsEmpty(wish) ? ParseImageUser(image_user) : wish;
  JobUser user;
  if (spec.has_username()) {
    ASSIGN_OR_RETURN(user, FromName(spec.username(), files));
  } else {
    user = spec.has_uid() ? FromUid(spec.uid(), files) : FromOwn(own, files);
  }
  if (spec.has_gid() || spec.has_groupname()) {
    user.gid = spec.gid();
    if (spec.has_groupname()) {
      ASSIGN_OR_RETURN(user.gid, GroupId(spec.groupname(), files));
    }
    user.groups.clear();
  }
  SortGroups(&user);
  user.home = UsableHome(user.home);
  return user;
}

}  // namespace dstack::runner
