#include "services/runner/repo/checkout.h"

#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/archive/unpack.h"
#include "services/runner/job/working_dir.h"
#include "services/runner/repo/diff.h"
#include "services/runner/state/visible_dir.h"

namespace dstack::runner {
namespace {

// In the repository's directory while it is being filled: it was empty before.
constexpr char kMark[] = ".dstack-checkout";
constexpr char kLostAndFound[] = "lost+found";
constexpr int kMaxSubmoduleDepth = 10;

enum class Found { kEmpty, kUnfinished, kOther };

absl::StatusOr<std::vector<std::string>> ListNames(const std::string& dir) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator iterator(dir, error);
  while (!error && iterator != std::filesystem::directory_iterator()) {
    names.push_back(iterator->path().filename().string());
    iterator.increment(error);
  }
  if (error) return base::ErrnoError(error.value(), dir);
  return names;
}

absl::StatusOr<Found> LookInto(const std::string& dir) {
  ASSIGN_OR_RETURN(const auto names, ListNames(dir));
  Found found = Found::kEmpty;
  for (const std::string& name : names) {
    if (name == kMark) return Found::kUnfinished;
    if (name != kLostAndFound) found = Found::kOther;
  }
  return found;
}

absl::Status Empty(const std::string& dir) {
  ASSIGN_OR_RETURN(const auto names, ListNames(dir));
  // The mark goes last: a crash in between must find it again.
  for (const std::string& name : names) {
    if (name == kLostAndFound || name == kMark) continue;
    RETURN_IF_ERROR(base::RemoveAll(base::JoinPath(dir, name)));
  }
  return absl::OkStatus();
}

// True: the directory is empty but for the mark, and must be filled.
absl::StatusOr<bool> Claim(const v1::Repo& repo,
                           const std::string& dir,
                           const ProgressSink& progress) {
  ASSIGN_OR_RETURN(const Found found, LookInto(dir));
  if (found == Found::kOther) {
    if (repo.exists_action() != v1::REPO_EXISTS_ACTION_ERROR) {
      progress(fmt::format("{} is not empty and stays as it is", dir));
      return false;
    }
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("{} is not empty (if_exists: skip would keep it)", dir));
  }
  if (found == Found::kUnfinished) {
    RETURN_IF_ERROR(Empty(dir));
  } else {
    RETURN_IF_ERROR(base::WriteFileAtomic(base::JoinPath(dir, kMark), "", 0600));
  }
  return true;
}

// One clone. Each method is a step.
class Clone {
 public:
  Clone(Git& git, const v1::GitRepo& repo, const base::GitUrl& url)
      : git_(git), repo_(repo), url_(url.ToString()) {}

  absl::Status Make(const std::string& dir) {
    RETURN_IF_ERROR(FindBranch());
    RETURN_IF_ERROR(Init());
    RETURN_IF_ERROR(git_.Run(FetchArgs()).status());
    RETURN_IF_ERROR(CheckOut());
    RETURN_IF_ERROR(UpdateSubmodules(dir, 1));
    return absl::OkStatus();
  }

 private:
  // The remote's default branch where none was asked for. The first word with the server: it says
  // whether host, repository and credentials are right.
  absl::Status FindBranch() {
    branch_ = repo_.branch();
    if (!branch_.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::string answer,
                     git_.Run({"ls-remote", "--symref", "--", url_, "HEAD"}));
    constexpr std::string_view kPrefix = "ref: refs/heads/";
    for (absl::string_view line : absl::StrSplit(answer, '\n')) {
      if (!absl::ConsumePrefix(&line, base::ToAbsl(kPrefix))) continue;
      branch_ = std::string(line.substr(0, line.find('\t')));
      return absl::OkStatus();
    }
    if (!repo_.hash().empty()) return absl::OkStatus();
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       "the repository is empty, or its default branch does not exist");
  }

  absl::Status Init() {
    RETURN_IF_ERROR(git_.Run({"init", "--quiet"}).status());
    const bool is_single = repo_.is_single_branch() && !branch_.empty();
    const std::string refs = is_single
                                 ? fmt::format("+refs/heads/{0}:refs/remotes/origin/{0}", branch_)
                                 : std::string("+refs/heads/*:refs/remotes/origin/*");
    RETURN_IF_ERROR(git_.Run({"config", "remote.origin.url", url_}).status());
    RETURN_IF_ERROR(git_.Run({"config", "remote.origin.fetch", refs}).status());
    if (!repo_.user_name().empty()) {
      RETURN_IF_ERROR(git_.Run({"config", "user.name", repo_.user_name()}).status());
    }
    if (!repo_.user_email().empty()) {
      RETURN_IF_ERROR(git_.Run({"config", "user.email", repo_.user_email()}).status());
    }
    return absl::OkStatus();
  }

  std::vector<std::string> FetchArgs() const { return {"fetch", "--progress", "--", "origin"}; }

  bool HasCommit() {
    return git_.Run({"cat-file", "-e", fmt::format("{}^{{commit}}", repo_.hash())}).ok();
  }

  absl::Status CheckOut() {
    const std::string head = fmt::format("refs/remotes/origin/{}", branch_);
    const auto head_commit = git_.Run({"rev-parse", "--verify", "--quiet", head + "^{commit}"});
    if (repo_.hash().empty()) {
      if (!head_commit.ok()) return NoSuch("branch", branch_);
      return CheckOutBranch(head);
    }
    if (!HasCommit()) {
      // A commit that no branch has, for example of a pull request; many servers give it away.
      const auto fetched = git_.Run({"fetch", "--progress", "--", "origin", repo_.hash()});
      if (!fetched.ok() || !HasCommit()) return NoSuch("commit", repo_.hash());
    }
    ASSIGN_OR_RETURN(
        const std::string commit,
        git_.Run({"rev-parse", "--verify", fmt::format("{}^{{commit}}", repo_.hash())}));
    if (head_commit.ok() && commit == *head_commit) return CheckOutBranch(head);
    return git_.Run({"checkout", "--quiet", "--detach", repo_.hash()}).status();
  }

  absl::Status CheckOutBranch(const std::string& head) {
    return git_.Run({"checkout", "--quiet", "-B", branch_, "--track", head}).status();
  }

  static absl::Status NoSuch(std::string_view what, std::string_view name) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       fmt::format("there is no {} {:?} in the repository", what, name));
  }

  // Level by level. `submodule--helper` is what the shell script git-submodule calls: images have
  // no shell.
  absl::Status UpdateSubmodules(const std::string& dir, int depth) {
    if (!base::Exists(base::JoinPath(dir, ".gitmodules"))) return absl::OkStatus();
    if (depth > kMaxSubmoduleDepth) {
      return base::Error(
          absl::StatusCode::kFailedPrecondition,
          "INVALID_STATE",
          fmt::format("{}: submodules are nested deeper than {}", dir, kMaxSubmoduleDepth));
    }
    const auto updated = git_.Run({"submodule--helper", "update", "--init", "--quiet"}, dir);
    RETURN_IF_ERROR(base::Annotate(updated.status(), "submodules"));
    ASSIGN_OR_RETURN(const std::string listing, git_.Run({"ls-files", "--stage", "-z"}, dir));
    for (absl::string_view entry : absl::StrSplit(listing, '\0', absl::SkipEmpty())) {
      if (!absl::ConsumePrefix(&entry, "160000 ")) continue;
      const std::string path(entry.substr(entry.find('\t') + 1));
      RETURN_IF_ERROR(UpdateSubmodules(base::JoinPath(dir, path), depth + 1));
    }
    return absl::OkStatus();
  }

  Git& git_;
  const v1::GitRepo& repo_;
  const std::string url_;
  std::string branch_;
};

absl::StatusOr<std::string> MakeWorkDir(const CheckoutContext& context, const TaskDir& dir) {
  const std::string usual = base::JoinPath(context.shared_dir, "git");
  // What an earlier process left.
  RETURN_IF_ERROR(base::RemoveAll(usual));
  return MakeVisibleDir(usual, base::JoinPath(dir.root(), "git"));
}

absl::Status FillFromGit(const v1::JobSpec& job,
                         const TaskDir& dir,
                         const CheckoutContext& context,
                         const Places& places,
                         const std::string& repo_dir,
                         const ProgressSink& progress,
                         const std::stop_token& stop) {
  const v1::GitRepo& repo = job.repo().git();
  ASSIGN_OR_RETURN(const base::GitUrl url, base::ParseGitUrl(repo.clone_url()));
  ASSIGN_OR_RETURN(std::string work_dir, MakeWorkDir(context, dir));
  progress(fmt::format("cloning {} to {}", url.ToString(), repo_dir));
  Git git({.bundle_dir = context.bundle_dir,
           .work_dir = std::move(work_dir),
           .repo_dir = repo_dir,
           .proxies = context.proxies,
           .progress = progress,
           .stop = stop},
          url,
          places);
  RETURN_IF_ERROR(git.Prepare(repo));
  RETURN_IF_ERROR(Clone(git, repo, url).Make(repo_dir));
  if (!repo.diff_digest().empty()) {
    ASSIGN_OR_RETURN(std::string diff,
                     base::ReadFile(base::JoinPath(dir.Files(), repo.diff_digest())));
    RETURN_IF_ERROR(ApplyDiff(git, std::move(diff)));
  }
  const auto commit = git.Run({"rev-parse", "--short", "HEAD"});
  progress(fmt::format("repository {} is at {}{}",
                       url.ToString(),
                       commit.ok() ? std::string(absl::StripAsciiWhitespace(*commit)) : "?",
                       repo.diff_digest().empty() ? "" : " with local changes"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> RepoDir(const v1::Repo& repo, const Places& places) {
  return ResolvePath(repo.path(), places.working_dir, places.user.home);
}

absl::Status InstallRepo(const v1::JobSpec& job,
                         const TaskDir& dir,
                         const CheckoutContext& context,
                         const ProgressSink& progress,
                         const std::stop_token& stop) {
  if (!job.has_repo()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ImageConfig image, LoadImageConfig(dir.ImageConfig()));
  ASSIGN_OR_RETURN(const Places places, ResolvePlaces(job, image, context.initial_dir));
  ASSIGN_OR_RETURN(const std::string repo_dir, RepoDir(job.repo(), places));
  RETURN_IF_ERROR(MakeDirsFor(repo_dir, places.user).status());
  if (!job.repo().has_git() && job.repo().archive_digest().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool is_ours, Claim(job.repo(), repo_dir, progress));
  if (!is_ours) return absl::OkStatus();
  if (places.can_switch && lchown(repo_dir.c_str(), places.user.uid, places.user.gid) != 0) {
    return base::ErrnoError(errno, fmt::format("cannot give {} to {}", repo_dir, places.user.name));
  }
  absl::Status filled;
  if (job.repo().has_git()) {
    filled = FillFromGit(job, dir, context, places, repo_dir, progress, stop);
  } else {
    std::optional<Ownership> owner;
    if (places.can_switch) owner = Ownership{places.user.uid, places.user.gid};
    filled = Unpack(base::JoinPath(dir.Files(), job.repo().archive_digest()), repo_dir, owner);
  }
  RETURN_IF_ERROR(base::Annotate(filled, "repository"));
  return base::RemoveAll(base::JoinPath(repo_dir, kMark));
}

}  // namespace dstack::runner
