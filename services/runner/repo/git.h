#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/git_url.h"
#include "services/runner/job/places.h"

namespace dstack::runner {

// A line about progress, for people.
using ProgressSink = std::function<void(const std::string& line)>;

// The bundle's git for one repository, run as the job's user with nothing of the container's or the
// user's git configuration. Credentials are in files that only that user can read; the destructor
// removes them. Not thread-safe; blocks.
class Git {
 public:
  struct Settings {
    std::string bundle_dir;
    // Gets the links, configuration and credentials; empty, readable by the job's user, and removed
    // by the destructor.
    std::string work_dir;
    // Where git runs.
    std::string repo_dir;
    // NAME=value of proxies.
    std::vector<std::string> proxies;
    ProgressSink progress;
    std::stop_token stop;
  };

  // `places` outlives the object.
  Git(Settings settings, base::GitUrl url, const Places& places);
  ~Git();
  Git(const Git&) = delete;
  Git& operator=(const Git&) = delete;

  // Writes configuration and credentials. FAILED_PRECONDITION without a bundle.
  absl::Status Prepare(const v1::GitRepo& repo);

  // Runs git with these arguments in the repository (or `dir`) and returns its output. Errors are
  // the reason in words: see DescribeGitFailure. CANCELLED when stopped.
  absl::StatusOr<std::string> Run(const std::vector<std::string>& args,
                                  const std::string& dir = "",
                                  const std::string& input = "");

 private:
  std::vector<std::string> Environment() const;
  absl::Status WritePrivate(const std::string& name, std::string_view content);
  absl::Status WriteCertificates();
  std::string ReadErrors(int fd);
  void OnErrorLine(std::string_view line, std::string* kept);

  const Settings settings_;
  const base::GitUrl url_;
  const Places& places_;
  bool has_key_ = false;
  std::chrono::steady_clock::time_point last_told_;  // progress
};

// What a person needs to know from the errors of git and ssh: authentication, unknown host, unknown
// repository, branch or commit, a diff that does not fit, no space. `command` is git's, for example
// "fetch". Pure.
std::string DescribeGitFailure(std::string_view command, std::string_view errors);

// Content of git's configuration: hooks, filters and helpers off, only the protocol of `url`; the
// token is sent to its origin alone. Pure.
std::string RenderGitConfig(const base::GitUrl& url,
                            const std::string& certificates,
                            const std::string& token);

}  // namespace dstack::runner
