#include "services/runner/job/home_files.h"

#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/git_url.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

// The rights of the user for the file system alone, until the end of the scope.
class AsOwner {
 public:
  AsOwner(const JobUser& user, bool changes_user) : is_active_(changes_user) {
    if (!is_active_) return;
    gid_ = static_cast<gid_t>(setfsgid(user.gid));
    uid_ = static_cast<uid_t>(setfsuid(user.uid));
  }
  ~AsOwner() {
    if (!is_active_) return;
    setfsuid(uid_);
    setfsgid(gid_);
  }
  AsOwner(const AsOwner&) = delete;
  AsOwner& operator=(const AsOwner&) = delete;

 private:
  const bool is_active_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
};

absl::Status MakeDir(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return base::ErrnoError(errno, path);
}

// Adds to a file of the user that may exist.
absl::Status Append(const std::string& path, const std::string& text) {
  if (base::ReadFile(path).value_or("").find(text) != std::string::npos) return absl::OkStatus();
  const base::UniqueFd file(
      open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return base::ErrnoError(errno, path);
  return base::WriteAll(file.get(), text);
}

}  // namespace

std::string ClusterSshConfig(const v1::JobSpec& job,
                             std::uint16_t ssh_port,
                             const std::string& key_path) {
  const v1::ClusterInfo& cluster = job.cluster();
  if (cluster.ssh_private_key().empty() || cluster.node_addresses_size() < 2) return "";
  std::string text;
  for (int node = 0; node < cluster.node_addresses_size(); ++node) {
    const std::string& address = cluster.node_addresses(node);
    if (address.empty()) continue;
    const bool has_port = node < cluster.ssh_ports_size() && cluster.ssh_ports(node) > 0;
    text += fmt::format(
        "\nHost {}\n    Port {}\n    IdentityFile {}\n    IdentitiesOnly yes\n"
        "    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    LogLevel ERROR\n",
        address,
        has_port ? cluster.ssh_ports(node) : ssh_port,
        key_path);
  }
  return text;
}

// A file that is there already is the user's own and stays.
absl::Status HomeFiles::PlaceNew(const std::string& path, const std::string& content) {
  const base::UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno == EEXIST ? absl::OkStatus() : base::ErrnoError(errno, path);
  placed_.emplace_back(path, content);
  return base::WriteAll(file.get(), content);
}

absl::Status HomeFiles::PlaceCredentials(const v1::GitRepo& repo, const std::string& home) {
  const auto url = base::ParseGitUrl(repo.clone_url());
  if (!url.ok()) return url.status();
  if (url->is_ssh() && !repo.private_key().empty()) {
    RETURN_IF_ERROR(MakeDir(home + "/.ssh"));
    const std::string& key = repo.private_key();
    return PlaceNew(home + "/.ssh/id_rsa", key.ends_with('\n') ? key : key + "\n");
  }
  if (url->is_ssh() || repo.oauth_token().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDir(home + "/.config"));
  RETURN_IF_ERROR(MakeDir(home + "/.config/gh"));
  return PlaceNew(
      home + "/.config/gh/hosts.yml",
      fmt::format(
          "{}:\n    oauth_token: {}\n    git_protocol: https\n", url->host, repo.oauth_token()));
}

absl::Status HomeFiles::Place(const v1::JobSpec& job,
                              const JobUser& user,
                              std::uint16_t ssh_port,
                              bool changes_user) {
  const std::string key_path = user.home + "/.ssh/dstack_job";
  const std::string config = ClusterSshConfig(job, ssh_port, key_path);
  if (user.home == "/" || (!job.repo().has_git() && config.empty())) return absl::OkStatus();
  user_ = user;
  changes_user_ = changes_user;
  const AsOwner owner(user, changes_user);
  if (job.repo().has_git()) RETURN_IF_ERROR(PlaceCredentials(job.repo().git(), user.home));
  if (config.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDir(user.home + "/.ssh"));
  unlink(key_path.c_str());
  RETURN_IF_ERROR(PlaceNew(key_path, job.cluster().ssh_private_key()));
  return Append(user.home + "/.ssh/config", config);
}

void HomeFiles::Remove() {
  if (placed_.empty()) return;
  const AsOwner owner(user_, changes_user_);
  for (const auto& [path, content] : placed_) {
    if (base::ReadFile(path).value_or("") == content) unlink(path.c_str());
  }
  placed_.clear();
}

}  // namespace dstack::runner
