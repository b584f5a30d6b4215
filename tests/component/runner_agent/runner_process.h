#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {

// A real `dstack-runner supervise` in a task directory of its own, as the process runtime starts
// it.
class RunnerProcess {
 public:
  explicit RunnerProcess(std::vector<std::string> flags = {});
  ~RunnerProcess();

  // Starts the supervisor (again).
  void Start();
  // The same, and sees the socket as soon as it is there, at the price of a processor.
  void StartAndSpin();
  // Ends it as an engine does.
  void Terminate();
  void KillSupervisor();
  void KillServe();
  // Starts `deliver` in the same directory.
  void StartDeliver();
  // Waits for the end of the supervisor (or of deliver).
  process::Exit Wait(std::chrono::seconds timeout = std::chrono::seconds(20));
  bool IsRunning();

  pid_t supervisor_pid() const;
  // Waits until there is a serve process, other than `not_this`.
  pid_t ServePid(pid_t not_this = -1) const;

  const std::string& dir() const { return dir_; }
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  std::string Target() const { return "unix:" + Path("runner.sock"); }
  const std::string& token() const { return token_; }
  // Environment of the supervisor, on top of PATH.
  std::vector<std::string> env;

 private:
  std::vector<std::string> SuperviseCommand() const;
  void Spawn(std::vector<std::string> argv);

  testing::TempDir temp_;
  const std::string dir_;
  const std::string token_;
  const std::vector<std::string> flags_;
  std::optional<process::Subprocess> process_;
};

// Resident memory of a process in KiB.
long ResidentKib(pid_t pid);

// The most that it ever was.
long PeakKib(pid_t pid);

}  // namespace dstack::runner
