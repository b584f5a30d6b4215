#include "clients/cli/repo/work_tree.h"

#include <cstdlib>
#include <filesystem>
#include <map>

#include <absl/strings/strip.h>
#include <fmt/format.h>

#include "clients/cli/repo/git_command.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::cli {
namespace {

absl::Status Unusable(const std::string& path, std::string_view why) {
  return base::InvalidField("repos", fmt::format("{} {}", path, why));
}

// A directory of our own, removed at the end.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::error_code error;
    std::string name = (std::filesystem::temp_directory_path(error) / "dstack-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~ScratchDirectory() {
    if (!path_.empty()) base::RemoveAll(path_).IgnoreError();
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }  // empty: could not be made

 private:
  std::string path_;
};

// The value, or nothing.
std::string ConfigValue(const std::string& root, const std::string& key) {
  return GitLine(root, {"config", "--get", key}).value_or("");
}

absl::Status FindRemote(const std::string& root, WorkTree* tree) {
  const auto local = GitLine(root, {"symbolic-ref", "--quiet", "--short", "HEAD"});
  if (!local.ok()) return Unusable(root, "has no branch checked out (detached HEAD)");
  const std::string remote = ConfigValue(root, fmt::format("branch.{}.remote", *local));
  std::string merge = ConfigValue(root, fmt::format("branch.{}.merge", *local));
  if (remote.empty() || remote == "." || merge.empty()) {
    return Unusable(
        root,
        fmt::format("has the branch {} checked out, which tracks no branch of a remote", *local));
  }
  tree->branch = std::string(absl::StripPrefix(merge, "refs/heads/"));
  ASSIGN_OR_RETURN(tree->remote_url, GitLine(root, {"remote", "get-url", remote}));
  const auto base = GitLine(root, {"merge-base", "HEAD", "@{upstream}"});
  if (!base.ok()) {
    return Unusable(root, fmt::format("has no commit in common with {}/{}", remote, tree->branch));
  }
  tree->hash = *base;
  return absl::OkStatus();
}

// Against an index and an object store of our own: the user's stay as they are.
absl::StatusOr<std::string> ReadDiff(const std::string& root, const std::string& hash) {
  const ScratchDirectory scratch;
  if (scratch.path().empty()) return base::Internal("repos: no temporary directory");
  ASSIGN_OR_RETURN(const std::string objects,
                   GitLine(root, {"rev-parse", "--path-format=absolute", "--git-path", "objects"}));
  const std::map<std::string, std::string> variables = {
      {"GIT_INDEX_FILE", base::JoinPath(scratch.path(), "index")},
      {"GIT_OBJECT_DIRECTORY", base::JoinPath(scratch.path(), "objects")},
      {"GIT_ALTERNATE_OBJECT_DIRECTORIES", objects}};
  RETURN_IF_ERROR(base::MakeDirs(base::JoinPath(scratch.path(), "objects")));
  RETURN_IF_ERROR(GitLine(root, {"read-tree", "HEAD"}, variables).status());
  RETURN_IF_ERROR(GitLine(root, {"add", "--all"}, variables).status());
  ASSIGN_OR_RETURN(GitOutput output,
                   RunGit(root,
                          {"diff",
                           "--cached",
                           "--binary",
                           "--full-index",
                           "--no-color",
                           "--no-ext-diff",
                           "--no-textconv",
                           "--src-prefix=a/",
                           "--dst-prefix=b/",
                           hash},
                          variables));
  if (output.status != 0) return base::Invalid("repos: git diff: " + output.errors);
  return std::move(output.out);
}

}  // namespace

absl::StatusOr<WorkTree> ReadWorkTree(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return Unusable(path, "is no directory");
  const auto root = GitLine(path, {"rev-parse", "--show-toplevel"});
  if (absl::IsNotFound(root.status())) return root.status();
  if (!root.ok()) return Unusable(path, "is no git work tree");
  WorkTree tree;
  RETURN_IF_ERROR(FindRemote(*root, &tree));
  tree.user_name = ConfigValue(*root, "user.name");
  tree.user_email = ConfigValue(*root, "user.email");
  ASSIGN_OR_RETURN(tree.diff, ReadDiff(*root, tree.hash));
  return tree;
}

}  // namespace dstack::cli
