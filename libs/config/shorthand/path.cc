#include "libs/config/shorthand/path.h"

#include <algorithm>
#include <vector>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

bool IsDriveLetter(std::string_view part) { return part.size() == 1 && IsAsciiAlpha(part.front()); }

bool IsWindowsAbsolute(std::string_view path) {
  return path.size() >= 3 && IsDriveLetter(path.substr(0, 1)) && path[1] == ':' &&
         (path[2] == '\\' || path[2] == '/');
}

void JoinFirstTwo(std::vector<std::string>* parts) {
  (*parts)[0] += ":" + (*parts)[1];
  parts->erase(parts->begin() + 1);
}

// `C:\dir:dst` is two parts, not three.
void RejoinDrive(std::vector<std::string>* parts) {
  if (parts->size() < 2 || !IsDriveLetter((*parts)[0])) return;
  const std::string& rest = (*parts)[1];
  if (!rest.empty() && (rest.front() == '\\' || rest.front() == '/')) JoinFirstTwo(parts);
}

// `443/r` after `https://host`: the rest of an address, not a path in the container.
bool LooksLikePort(std::string_view part) {
  const size_t slash = part.find('/');
  return slash != std::string_view::npos && IsAllDigits(part.substr(0, slash));
}

}  // namespace

absl::StatusOr<std::string> NormaliseAbsolutePath(std::string_view path) {
  if (path.empty()) return BrokenRule("must not be empty");
  if (path.front() != '/') return BrokenRule("must be an absolute path");
  if (std::any_of(path.begin(), path.end(), [](char c) { return c >= 0 && c < ' '; })) {
    return BrokenRule("must not have control characters");
  }
  std::string normal;
  for (const std::string& component : SplitOn(path, '/')) {
    if (component == "..") return BrokenRule("must not have a `..` component");
    if (component.empty() || component == ".") continue;
    normal += "/" + component;
  }
  if (normal.empty()) normal = "/";
  const bool has_double = path.starts_with("//") && !path.starts_with("///");
  return has_double ? "/" + normal : normal;
}

absl::StatusOr<v1::VolumeMount> ParseMount(std::string_view text) {
  const std::vector<std::string> parts = SplitOn(text, ':');
  if (parts.size() != 2) {
    return BrokenRule("must be `VOLUME:/PATH` or `/HOST/PATH:/PATH`, with one `:`");
  }
  const absl::StatusOr<std::string> path = NormaliseAbsolutePath(parts[1]);
  if (!path.ok()) return BrokenRule("the path after `:` " + MessageOf(path.status()));
  v1::VolumeMount mount;
  if (parts[0].find('/') == std::string::npos) {
    if (parts[0].empty()) return BrokenRule("must name a volume before `:`");
    mount.mutable_network()->add_names(parts[0]);
    mount.mutable_network()->set_path(*path);
    return mount;
  }
  const absl::StatusOr<std::string> source = NormaliseAbsolutePath(parts[0]);
  if (!source.ok()) return BrokenRule("the path before `:` " + MessageOf(source.status()));
  mount.mutable_instance()->set_instance_path(*source);
  mount.mutable_instance()->set_path(*path);
  return mount;
}

absl::StatusOr<v1::FileMapping> ParseFileMapping(std::string_view text) {
  std::vector<std::string> parts = SplitOn(text, ':');
  RejoinDrive(&parts);
  if (parts.size() > 2) return BrokenRule("must be `PATH` or `LOCAL:PATH`");
  v1::FileMapping mapping;
  mapping.set_local_path(parts.front());
  mapping.set_path(parts.back());
  if (parts.front().empty() || parts.back().empty()) {
    return BrokenRule("must not have an empty path");
  }
  if (absl::Status status = CheckFileTarget(mapping.path()); !status.ok()) return status;
  return mapping;
}

absl::StatusOr<v1::RepoSpec> ParseRepo(std::string_view text) {
  std::vector<std::string> parts = SplitOn(text, ':');
  const bool has_scheme = parts.size() >= 2 && parts[1].starts_with("//");
  const bool is_url = has_scheme || (parts.size() >= 2 && parts[0].find('@') != std::string::npos);
  if (is_url) {
    JoinFirstTwo(&parts);
    if (has_scheme && parts.size() >= 2 && LooksLikePort(parts[1])) JoinFirstTwo(&parts);
  } else {
    RejoinDrive(&parts);
  }
  if (parts.size() > 2) return BrokenRule("must be `SOURCE` or `SOURCE:PATH`");
  if (parts[0].empty()) return BrokenRule("must name a local path or an address");
  v1::RepoSpec repo;
  if (is_url) {
    repo.set_url(parts[0]);
  } else {
    repo.set_local_path(parts[0]);
  }
  repo.set_path(parts.size() == 2 ? parts[1] : ".");
  if (absl::Status status = CheckRepoTarget(repo.path()); !status.ok()) return status;
  return repo;
}

absl::Status CheckFileTarget(std::string_view path) {
  if (IsWindowsAbsolute(path)) return BrokenRule("the path in the container must be a Unix path");
  if (path.starts_with("~") && path != "~" && !path.starts_with("~/")) {
    return BrokenRule("`~user` is not supported, only `~` and `~/PATH`");
  }
  return absl::OkStatus();
}

absl::Status CheckRepoTarget(std::string_view path) {
  if (path.empty()) return BrokenRule("must not be empty");
  if (path.starts_with("~") && path != "~" && !path.starts_with("~/")) {
    return BrokenRule("`~user` is not supported, only `~` and `~/PATH`");
  }
  return absl::OkStatus();
}

}  // namespace dstack::config
