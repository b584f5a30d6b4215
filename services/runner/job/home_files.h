#pragma once

#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>

#include "dstack/runner/v1/job.pb.h"

#include "services/runner/job/user_lookup.h"

namespace dstack::runner {

// Files of ours in the home of the job's user while the job runs: the credentials of its repository
// (for its own git) and the key and names of the other nodes. Written with the rights of that user,
// so that no link of theirs leads us elsewhere. Not for processes with threads.
class HomeFiles {
 public:
  HomeFiles() = default;
  ~HomeFiles() { Remove(); }
  HomeFiles(const HomeFiles&) = delete;
  HomeFiles& operator=(const HomeFiles&) = delete;

  // Writes what the job needs and what is not there yet; nothing in a home "/". `ssh_port`: of the
  // other nodes' sshd where the job does not say. `changes_user`: this process is not that user.
  absl::Status Place(const v1::JobSpec& job,
                     const JobUser& user,
                     std::uint16_t ssh_port,
                     bool changes_user);

  // Removes the credentials; idempotent. What the job put in their place stays.
  void Remove();

 private:
  absl::Status PlaceCredentials(const v1::GitRepo& repo, const std::string& home);
  absl::Status PlaceNew(const std::string& path, const std::string& content);

  JobUser user_;
  bool changes_user_ = false;
  std::vector<std::pair<std::string, std::string>> placed_;  // path, content
};

// Blocks for ~/.ssh/config, one per other node's address; empty for less than two nodes. Pure.
std::string ClusterSshConfig(const v1::JobSpec& job,
                             std::uint16_t ssh_port,
                             const std::string& key_path);

}  // namespace dstack::runner
