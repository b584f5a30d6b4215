#include "services/runner/domain/job_validate.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/git_url.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

using Violations = std::vector<base::FieldViolation>;

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

bool IsDigest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void CheckDuration(std::string_view field,
                   const google::protobuf::Duration& duration,
                   Violations* out) {
  if (duration.seconds() < 0 || duration.nanos() < 0) {
    out->push_back({std::string(field), "must not be negative"});
  }
}

void CheckCommand(const v1::JobSpec& job, Violations* out) {
  for (int i = 0; i < job.command_size(); ++i) {
    if (HasNul(job.command(i))) {
      out->push_back({fmt::format("command[{}]", i), "must not contain a NUL byte"});
    }
  }
  if (job.command_size() > 0 && job.command(0).empty()) {
    out->push_back({"command[0]", "must name a program"});
  }
}

void CheckEnv(const v1::JobSpec& job, Violations* out) {
  for (const auto& [name, value] : job.env()) {
    if (name.empty() || HasNul(name) || name.find('=') != std::string::npos) {
      out->push_back({fmt::format("env[{:?}]", name),
                      "a name must not be empty and must not contain '=' or a NUL byte"});
    }
    // The value may be a secret and is not shown.
    if (HasNul(value)) {
      out->push_back({fmt::format("env[{:?}]", name), "the value must not contain a NUL byte"});
    }
  }
}

bool IsPathWish(std::string_view path) {
  const bool is_other_home = path.starts_with('~') && path.size() > 1 && path[1] != '/';
  return !HasNul(path) && !is_other_home;
}

void CheckGitRepo(const v1::GitRepo& repo, Violations* out) {
  if (const auto url = base::ParseGitUrl(repo.clone_url()); !url.ok()) {
    out->push_back({"repo.git.clone_url", std::string(base::Message(url.status()))});
  }
  const auto is_name = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) {
      return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
    });
  };
  if (repo.branch().starts_with('-') || !is_name(repo.branch())) {
    out->push_back({"repo.git.branch", fmt::format("{:?} is no name of a branch", repo.branch())});
  }
  const bool is_hash = repo.hash().size() >= 4 && repo.hash().size() <= 64 &&
                       repo.hash().find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  if (!repo.hash().empty() && !is_hash) {
    out->push_back(
        {"repo.git.hash", fmt::format("{:?} is not 4 to 64 hexadecimal digits", repo.hash())});
  }
  for (const std::string* text : {&repo.user_name(), &repo.user_email()}) {
    if (text->find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos ||
        text->starts_with('-')) {
      out->push_back(
          {"repo.git.user_name", "name and e-mail must be one line without a leading \"-\""});
    }
  }
  // Not shown.
  if (!is_name(repo.oauth_token())) {
    out->push_back({"repo.git.oauth_token", "must not contain blanks or control characters"});
  }
  if (HasNul(repo.private_key())) {
    out->push_back({"repo.git.private_key", "must not contain a NUL byte"});
  }
}

void CheckRepo(const v1::Repo& repo, Violations* out) {
  if (!IsPathWish(repo.path())) {
    out->push_back(
        {"repo.path",
         fmt::format("{:?} must be relative, absolute or begin with \"~/\"", repo.path())});
  }
  if (HasNul(repo.repo_id())) out->push_back({"repo.repo_id", "must not contain a NUL byte"});
  if (repo.has_git()) CheckGitRepo(repo.git(), out);
  for (const std::string* digest : {&repo.git().diff_digest(), &repo.archive_digest()}) {
    if (!digest->empty() && !IsDigest(*digest)) {
      out->push_back(
          {"repo", fmt::format("{:?} is not 64 lower-case hexadecimal digits", *digest)});
    }
  }
}

void CheckPaths(const v1::JobSpec& job, Violations* out) {
  const std::string& dir = job.working_dir();
  if (HasNul(dir) || (!dir.empty() && dir.front() != '/' && dir.front() != '~')) {
    out->push_back({"working_dir", fmt::format("{:?} must be absolute or begin with \"~\"", dir)});
  }
  for (int i = 0; i < job.files_size(); ++i) {
    const v1::FileMapping& file = job.files(i);
    if (!IsDigest(file.digest())) {
      out->push_back({fmt::format("files[{}].digest", i),
                      fmt::format("{:?} is not 64 lower-case hexadecimal digits", file.digest())});
    }
    if (file.path().empty() || !IsPathWish(file.path())) {
      out->push_back(
          {fmt::format("files[{}].path", i),
           fmt::format("{:?} must be relative, absolute or begin with \"~/\"", file.path())});
    }
  }
}

void CheckUser(const v1::UserSpec& user, Violations* out) {
  if (user.has_uid() && user.has_username()) {
    out->push_back({"user", "uid and username exclude each other"});
  }
  if (user.has_gid() && user.has_groupname()) {
    out->push_back({"user", "gid and groupname exclude each other"});
  }
}

}  // namespace

absl::Status ValidateJob(const v1::JobSpec& job) {
  Violations violations;
  if (job.identity().job_id().empty()) {
    violations.push_back({"identity.job_id", "must be set"});
  }
  CheckCommand(job, &violations);
  CheckEnv(job, &violations);
  CheckPaths(job, &violations);
  CheckUser(job.user(), &violations);
  if (job.has_repo()) CheckRepo(job.repo(), &violations);
  const v1::ClusterInfo& cluster = job.cluster();
  if (cluster.gpus_per_node_size() > 0 &&
      cluster.gpus_per_node_size() != cluster.node_addresses_size()) {
    violations.push_back({"cluster.gpus_per_node",
                          fmt::format("has {} entries for {} nodes",
                                      cluster.gpus_per_node_size(),
                                      cluster.node_addresses_size())});
  }
  // A second line would be a second key.
  if (job.cluster().ssh_public_key().find_first_of("\r\n") != std::string::npos) {
    violations.push_back({"cluster.ssh_public_key", "must be one line"});
  }
  CheckDuration("max_duration", job.max_duration(), &violations);
  CheckDuration("stop_duration", job.stop_duration(), &violations);
  return base::InvalidFields(violations);
}

}  // namespace dstack::runner
