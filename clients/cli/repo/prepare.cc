#include "clients/cli/repo/prepare.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "clients/cli/repo/access.h"
#include "clients/cli/repo/work_tree.h"
#include "libs/base/git_url.h"
#include "libs/base/macros.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

constexpr size_t kShownParts = 5;
constexpr std::string_view kPartStart = "diff --git ";

absl::StatusOr<std::string> LocalPath(const Environment& environment,
                                      const std::string& path,
                                      const std::string& document_directory) {
  const bool is_relative = path.empty() || (path[0] != '/' && path[0] != '~');
  if (is_relative && document_directory.empty()) {
    return base::InvalidField("repos",
                              fmt::format("a relative path needs a configuration file ({})", path));
  }
  return environment.ResolvePath(path, document_directory);
}

absl::StatusOr<std::optional<Archive>> AddWorkTree(WorkTree tree,
                                                   uint64_t limit_bytes,
                                                   api::v1::RunRepo* repo) {
  repo->set_clone_url(tree.remote_url);
  repo->set_branch(tree.branch);
  repo->set_hash(tree.hash);
  repo->set_user_name(tree.user_name);
  repo->set_user_email(tree.user_email);
  if (tree.diff.empty()) return std::optional<Archive>();
  if (limit_bytes > 0 && tree.diff.size() > limit_bytes) {
    return base::Error(
        absl::StatusCode::kResourceExhausted,
        "TOO_LARGE",
        fmt::format("repos: the changes are {} bytes, the server takes {}; largest: {}",
                    tree.diff.size(),
                    limit_bytes,
                    LargestParts(tree.diff)));
  }
  Archive diff{.bytes = std::move(tree.diff), .digest = "", .skipped = {}};
  diff.digest = base::Sha256Hex(diff.bytes);
  repo->set_diff_digest(diff.digest);
  return std::optional(std::move(diff));
}

}  // namespace

std::string LargestParts(const std::string& diff) {
  std::vector<std::pair<size_t, std::string>> parts;
  for (size_t at = 0; at < diff.size();) {
    const size_t next = diff.find("\n" + std::string(kPartStart), at);
    const size_t end = next == std::string::npos ? diff.size() : next + 1;
    const size_t name = at + kPartStart.size();
    parts.emplace_back(end - at, diff.substr(name, diff.find('\n', at) - name));
    at = end;
  }
  std::sort(parts.rbegin(), parts.rend());
  if (parts.size() > kShownParts) parts.resize(kShownParts);
  std::vector<std::string> words;
  for (const auto& [size, name] : parts) words.push_back(fmt::format("{} ({} bytes)", name, size));
  return fmt::format("{}", fmt::join(words, ", "));
}

absl::StatusOr<PreparedRepo> PrepareRepo(const Environment& environment,
                                         const RunFlags& flags,
                                         const std::string& document_directory,
                                         uint64_t limit_bytes,
                                         api::v1::RunSpec* spec) {
  spec->clear_repo();
  PreparedRepo prepared;
  if (spec->configuration().repos().empty()) return prepared;
  const config::v1::RepoSpec& wish = spec->configuration().repos(0);
  api::v1::RunRepo& repo = *spec->mutable_repo();
  if (wish.has_url()) {
    repo.set_clone_url(wish.url());
    repo.set_branch(wish.branch());
    repo.set_hash(wish.hash());
  } else {
    ASSIGN_OR_RETURN(const std::string path,
                     LocalPath(environment, wish.local_path(), document_directory));
    ASSIGN_OR_RETURN(WorkTree tree, ReadWorkTree(path));
    ASSIGN_OR_RETURN(prepared.diff, AddWorkTree(std::move(tree), limit_bytes, &repo));
  }
  const auto url = base::ParseGitUrl(repo.clone_url());
  if (!url.ok()) return base::InvalidField("repos", std::string(base::Message(url.status())));
  repo.set_repo_id(base::GitRepoId(*url));
  ASSIGN_OR_RETURN(
      const RepoAccess access,
      FindAccess(environment, *url, {.token = flags.token, .identity = flags.git_identity}));
  repo.set_clone_url(access.url);
  repo.set_oauth_token(access.token);
  repo.set_private_key(access.private_key.Reveal());
  prepared.note = access.note;
  return prepared;
}

}  // namespace dstack::cli
