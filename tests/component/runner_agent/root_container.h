#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/session_client.h"

namespace dstack::runner {

// The runner as first process of a pid namespace in a root directory of its own: what an engine
// makes of an image, without the engine and in a fraction of its time. Networks are the host's.
class RootContainer {
 public:
  // False: this machine has no namespaces for us.
  static bool IsPossible();

  RootContainer();

  // --- The image ---
  const std::string& root() const { return temp_.path(); }
  void MakeDir(const std::string& path) const;
  void Write(const std::string& path, const std::string& content, unsigned mode = 0644) const;
  // A static busybox with these names in /bin.
  void AddBusybox(const std::vector<std::string>& names) const;
  // A program of this machine with its libraries and loader, at the same paths.
  void AddDynamic(const std::string& program) const;
  // What the shim tells about the image.
  void SetImageUser(const std::string& user) const;

  // --- The container ---
  struct Options {
    bool is_read_only = false;
    bool has_terminals = true;
    std::vector<std::string> env = {};
    // Of the shell that sets the container up, in its mount namespace; the root is "$root".
    std::string before = "true";
  };
  void Start(const Options& options);
  void Start() { Start(Options()); }
  SessionClient& client() { return *client_; }
  // Up to the start of the command.
  v1::JobStatus Run(const v1::JobSpec& job);
  // Up to the end of its logs.
  v1::JobStatus RunToEnd(const v1::JobSpec& job);
  // The end, once the command has ended; the runner's exit.
  process::Exit Leave();
  process::Exit StopAndLeave();
  const std::string& output() { return store_.text[common::v1::LOG_SOURCE_JOB]; }
  const std::string& runner_log() { return store_.text[common::v1::LOG_SOURCE_RUNNER]; }

  // Child of the runner whose command line has this word, as this machine numbers it; -1: none.
  pid_t ChildPid(const std::string& word) const;
  // Private key that the job's sshd lets in.
  std::string key() const { return keys_.Path("id"); }

 private:
  void MakeDevice(const std::string& name, const std::string& minor) const;
  void Submit(const v1::JobSpec& job);
  std::string task_dir() const { return root() + "/dstack/runner"; }

  testing::TempDir temp_;
  testing::TempDir keys_;
  const std::string token_ = std::string(40, 'k');
  ServerStore store_;
  std::optional<process::Subprocess> process_;
  std::optional<SessionClient> client_;
};

}  // namespace dstack::runner
