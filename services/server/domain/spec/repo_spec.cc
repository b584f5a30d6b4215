#include "services/server/domain/spec/repo_spec.h"

#include <string>
#include <string_view>

#include "fmt/format.h"
#include "libs/base/git_url.h"

namespace dstack::server {
namespace {

using base::FieldViolation;

constexpr std::size_t kMaxTextLength = 1024;
constexpr std::size_t kMaxKeyLength = 64 << 10;

// One line that no program takes for an option.
bool IsPlainWord(std::string_view text) {
  return text.size() <= kMaxTextLength && !text.starts_with('-') &&
         text.find_first_of(std::string_view("\n\r\0", 3)) == std::string_view::npos;
}

bool IsHex(std::string_view text, std::size_t least, std::size_t most) {
  return text.size() >= least && text.size() <= most &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

void CheckWords(const api::v1::RunRepo& repo, std::vector<FieldViolation>* violations) {
  const std::pair<const char*, const std::string&> words[] = {
      {"run_spec.repo.branch", repo.branch()},
      {"run_spec.repo.repo_id", repo.repo_id()},
      {"run_spec.repo.user_name", repo.user_name()},
      {"run_spec.repo.user_email", repo.user_email()}};
  for (const auto& [field, text] : words) {
    if (IsPlainWord(text)) continue;
    violations->push_back(
        {field,
         fmt::format("must be one line of at most {} bytes without a leading \"-\"",
                     kMaxTextLength),
         ""});
  }
  if (!repo.hash().empty() && !IsHex(repo.hash(), 4, 64))
    violations->push_back({"run_spec.repo.hash", "must be 4 to 64 hex digits", ""});
  if (!repo.diff_digest().empty() && !IsHex(repo.diff_digest(), 64, 64))
    violations->push_back({"run_spec.repo.diff_digest", "must be 64 lower-case hex digits", ""});
  // The values are secrets and are not shown.
  if (!IsPlainWord(repo.oauth_token()) || repo.oauth_token().find(' ') != std::string::npos)
    violations->push_back({"run_spec.repo.oauth_token", "must be one word", ""});
  if (repo.private_key().size() > kMaxKeyLength)
    violations->push_back({"run_spec.repo.private_key", "must have at most 64 KiB", ""});
}

}  // namespace

void FillRepo(api::v1::RunSpec* spec, std::vector<FieldViolation>* violations) {
  const auto& repos = spec->configuration().repos();
  if (repos.empty()) {
    if (spec->has_repo())
      violations->push_back({"run_spec.repo", "is set, but the configuration has no `repos`", ""});
    return;
  }
  if (!spec->has_repo()) {
    if (repos[0].url().empty()) {
      violations->push_back(
          {"repos[0]", "is a directory of the client, which has not sent what it found there", ""});
      return;
    }
    spec->mutable_repo()->set_clone_url(repos[0].url());
    spec->mutable_repo()->set_branch(repos[0].branch());
    spec->mutable_repo()->set_hash(repos[0].hash());
  }
  api::v1::RunRepo& repo = *spec->mutable_repo();
  const auto url = base::ParseGitUrl(repo.clone_url());
  if (!url.ok()) {
    violations->push_back(
        {"run_spec.repo.clone_url", std::string(base::Message(url.status())), ""});
  } else if (repo.repo_id().empty()) {
    repo.set_repo_id(base::GitRepoId(*url));
  }
  CheckWords(repo, violations);
}

void AddRepo(const api::v1::RunSpec& effective_spec, runner::v1::JobSpec* job) {
  if (!effective_spec.has_repo() || effective_spec.configuration().repos().empty()) return;
  const api::v1::RunRepo& source = effective_spec.repo();
  const config::v1::RepoSpec& wish = effective_spec.configuration().repos(0);
  runner::v1::Repo& repo = *job->mutable_repo();
  repo.set_repo_id(source.repo_id());
  repo.set_path(wish.path());
  repo.set_exists_action(wish.if_exists() == config::v1::REPO_EXISTS_ACTION_SKIP
                             ? runner::v1::REPO_EXISTS_ACTION_SKIP
                             : runner::v1::REPO_EXISTS_ACTION_ERROR);
  runner::v1::GitRepo& git = *repo.mutable_git();
  git.set_clone_url(source.clone_url());
  git.set_branch(source.branch());
  git.set_hash(source.hash());
  git.set_is_single_branch(effective_spec.configuration().single_branch());
  git.set_diff_digest(source.diff_digest());
  git.set_user_name(source.user_name());
  git.set_user_email(source.user_email());
  git.set_oauth_token(source.oauth_token());
  git.set_private_key(source.private_key());
}

}  // namespace dstack::server
