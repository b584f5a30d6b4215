#include "tests/component/runner_agent/runner_process.h"

#include <csignal>

#include <catch2/catch.hpp>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/process/alive.h"
#include "libs/process/proc_stat.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

long StatusKib(pid_t pid, const std::string& field) {
  const std::string status =
      base::ReadFile("/proc/" + std::to_string(pid) + "/status").value_or("");
  const std::size_t at = status.find(field);
  return at == std::string::npos ? 0 : std::stol(status.substr(at + field.size()));
}

}  // namespace

RunnerProcess::RunnerProcess(std::vector<std::string> flags)
    : dir_(temp_.path() + "/t"), token_(40, 'k'), flags_(std::move(flags)) {
  REQUIRE(base::MakeDirs(dir_, 0700).ok());
  REQUIRE(base::WriteFileAtomic(Path("token"), token_, 0600).ok());
}

RunnerProcess::~RunnerProcess() = default;

void RunnerProcess::Spawn(std::vector<std::string> argv) {
  process::Options options;
  options.env = env;
  options.env->push_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
  options.cwd = temp_.path();
  auto started = process::Subprocess::Start(argv, options);
  INFO(started.status());
  REQUIRE(started.ok());
  process_.emplace(*std::move(started));
}

std::vector<std::string> RunnerProcess::SuperviseCommand() const {
  std::vector<std::string> argv = {
      testing::Binary("dstack-runner"), "supervise", "--task-dir", dir_};
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  return argv;
}

void RunnerProcess::Start() {
  Spawn(SuperviseCommand());
  // One that is to stop before it began may be gone before anybody could talk to it.
  testing::Await(20s, [this] { return base::Exists(Path("runner.sock")) || !IsRunning(); });
}

void RunnerProcess::StartAndSpin() {
  Spawn(SuperviseCommand());
  while (!base::Exists(Path("runner.sock")) && IsRunning()) {
  }
}

void RunnerProcess::StartDeliver() {
  Spawn({testing::Binary("dstack-runner"), "deliver", "--task-dir", dir_});
  testing::Await(20s, [this] { return base::Exists(Path("runner.sock")); });
}

void RunnerProcess::Terminate() { kill(supervisor_pid(), SIGTERM); }

void RunnerProcess::KillSupervisor() {
  kill(supervisor_pid(), SIGKILL);
  Wait();
  unlink(Path("runner.sock").c_str());
}

void RunnerProcess::KillServe() { kill(ServePid(), SIGKILL); }

process::Exit RunnerProcess::Wait(std::chrono::seconds timeout) {
  const auto exit = process_->WaitUntil(base::DeadlineIn(timeout));
  INFO(exit.status());
  REQUIRE(exit.ok());
  return *exit;
}

bool RunnerProcess::IsRunning() { return process::IsAlive(supervisor_pid()); }

pid_t RunnerProcess::supervisor_pid() const { return process_->pid(); }

pid_t RunnerProcess::ServePid(pid_t not_this) const {
  pid_t found = -1;
  testing::Await(20s, [&] {
    for (const process::ProcessEntry& entry : process::ListProcesses()) {
      if (entry.parent != supervisor_pid() || entry.pid == not_this) continue;
      const std::string args =
          base::ReadFile("/proc/" + std::to_string(entry.pid) + "/cmdline").value_or("");
      if (args.find("serve") != std::string::npos) found = entry.pid;
    }
    return found > 0;
  });
  return found;
}

long ResidentKib(pid_t pid) { return StatusKib(pid, "VmRSS:"); }

long PeakKib(pid_t pid) { return StatusKib(pid, "VmHWM:"); }

}  // namespace dstack::runner
