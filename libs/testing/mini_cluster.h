#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>
#include <sys/types.h>

#include "libs/process/subprocess.h"
#include "libs/testing/live_program.h"
#include "libs/testing/mini_docker.h"
#include "libs/testing/mini_sshd.h"
#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// All binaries together, as a user has them: a server with its private PostgreSQL, hosts behind
// real sshds, containers of a real engine, and the command line. Everything lies below one
// temporary home, and nothing of it outlives the object: processes, containers, files.
//
// Waiting functions fail the test case after a deadline. Not thread-safe.
class MiniCluster {
 public:
  enum class Runtime { kDocker, kProcess };
  struct Options {
    Runtime runtime = Runtime::kDocker;
    // The engine is one of the cluster's own that can start privileged containers on any kernel.
    bool is_engine_privileged = false;
    // This machine is the host of fleet `local`.
    bool has_local_host = true;
    // Start() returns when that host can be used; otherwise as soon as the server is healthy.
    bool is_idle_awaited = true;
    // Empty: the server starts a private one.
    std::string database_url;
    std::vector<std::string> server_arguments;
    std::vector<std::string> server_env;
  };

  // Null after Skip(): the machine has no container engine.
  static std::unique_ptr<MiniCluster> Start(Options options);
  static std::unique_ptr<MiniCluster> Start() { return Start(Options()); }
  ~MiniCluster();
  MiniCluster(const MiniCluster&) = delete;
  MiniCluster& operator=(const MiniCluster&) = delete;

  // --- The command line ---

  // Runs it to its end. Its working directory is the home.
  process::RunResult Cli(const std::vector<std::string>& arguments,
                         std::chrono::nanoseconds timeout = std::chrono::seconds(60)) const;
  // Cli() that has to succeed; its standard output.
  std::string CliOk(const std::vector<std::string>& arguments,
                    std::chrono::nanoseconds timeout = std::chrono::seconds(60)) const;
  std::unique_ptr<LiveProgram> StartCli(const std::vector<std::string>& arguments,
                                        bool on_terminal = false) const;

  // Writes `<name>.dstack.yml`: a task of that name on kBusyboxImage (on a process host: without
  // image). `more` are further lines of the document, after `commands`, each a shell command.
  std::string WriteTask(const std::string& name,
                        const std::vector<std::string>& commands,
                        const std::string& more = "") const;
  std::string WriteFile(const std::string& name, const std::string& text) const;

  // --- What the API says ---

  nlohmann::json Run(const std::string& name) const;
  // Of a run that does not exist: what the command line says.
  std::string RunStatus(const std::string& name) const;
  // Of the newest submission of its only job.
  nlohmann::json Submission(const std::string& name) const;
  void AwaitRun(const std::string& name,
                const std::string& status,
                std::chrono::nanoseconds timeout = std::chrono::seconds(30)) const;
  // The instances of a fleet.
  nlohmann::json Instances(const std::string& fleet) const;
  // All hosts of the fleet are idle, none has a busy block, and no container is left.
  void AwaitIdle(const std::string& fleet = "local",
                 std::chrono::nanoseconds timeout = std::chrono::seconds(30)) const;

  // --- Hosts ---

  // A host behind an sshd of its own, as fleet `name`; waits until it is idle. The object lives as
  // long as the cluster.
  MiniSshd& AddHost(const std::string& fleet, int blocks = 1);

  // --- Processes ---

  // Kills the server (kill -9), or asks it to end (SIGTERM) and waits for its end.
  void KillServer();
  void StopServer();
  // Starts it again on the same home and port, and waits until it is healthy.
  void StartServer();
  bool IsServerRunning();
  // SIGSTOP makes it sleep, SIGCONT wakes it up; a sleeping one is woken for its end.
  void SignalServer(int signal);

  pid_t server_pid() const { return server_->pid(); }
  // These are looked up each time, and waited for.
  pid_t PostgresPid() const;
  pid_t SshMasterPid() const;
  pid_t ShimPid() const;
  // The process that runs `dstack-runner serve` for the run's only job.
  pid_t RunnerServePid(const std::string& run) const;
  // Its parent: `dstack-runner supervise`, the first process of the container.
  pid_t SupervisorPid(const std::string& run) const;

  // The main process of the run's only job, and all its processes, also those that
  // have left its tree.
  pid_t JobPid(const std::string& run) const;
  std::vector<pid_t> JobTree(const std::string& run) const;

  // Ids of the engine's containers that belong to our shims.
  std::vector<std::string> Containers() const;
  // Processes whose command line names our home.
  std::vector<pid_t> Processes() const;

  const MiniDocker& docker() const { return *docker_; }
  const std::string& home() const { return home_.path(); }
  std::string server_home() const { return home_.Path("server"); }
  std::string url() const;
  std::uint16_t port() const { return port_; }
  std::string ServerLog() const;
  std::vector<std::string> Env() const;

 private:
  explicit MiniCluster(Options options);
  void Launch();
  std::optional<std::uint16_t> PrintedPort() const;
  std::vector<std::string> HostHomes() const;
  std::vector<std::string> Roots() const;
  std::string TaskLink(const std::string& task) const;
  pid_t FindProcess(const std::vector<std::string>& words) const;
  absl::StatusOr<std::vector<std::string>> ListContainers() const;
  void EndProcesses();
  void EndAgents();

  const Options options_;
  TempDir home_;
  std::unique_ptr<MiniDocker> docker_;
  std::string docker_host_;
  std::optional<process::Subprocess> server_;
  std::uint16_t port_ = 0;
  std::vector<std::unique_ptr<MiniSshd>> hosts_;
};

}  // namespace dstack::testing
