#include "services/shim/adapters/process_runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/failpoint/failpoint.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"
#include "services/shim/adapters/supervisor_command.h"
#include "services/shim/adapters/task_cgroup.h"
#include "services/shim/adapters/user_home.h"
#include "services/shim/domain/device_settings.h"

namespace dstack::shim {
namespace {

using nlohmann::json;

constexpr char kMarkName[] = "DSTACK_SHIM_TASK";
constexpr std::size_t kTailLines = 5;
constexpr std::chrono::seconds kKillTimeout{5};
constexpr std::chrono::milliseconds kKillPause{2};

std::string Getenv(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);  // nobody sets it
  return value == nullptr ? fallback : value;
}

// What a job gets from the host, and nothing else: no secret of the shim's own environment.
std::vector<std::string> MinimalEnv(const LaunchSpec& launch,
                                    const ProcessRuntimeSettings& settings,
                                    const std::string& mark) {
  std::vector<std::string> env = {
      "PATH=" + Getenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
      "HOME=" +
          HomeOfUser(base::ReadFile("/etc/passwd").value_or(""), ::geteuid(), Getenv("HOME", "")),
      "LANG=" + Getenv("LANG", "C.UTF-8"),
      "TERM=xterm-256color",
      mark,
  };
  std::vector<common::v1::Gpu> gpus;
  if (settings.find_gpus && !launch.gpu_ids.empty()) gpus = settings.find_gpus(launch.gpu_ids);
  for (std::string& variable : VisibleDevicesEnv(gpus)) env.push_back(std::move(variable));
  return env;
}

absl::Status NoProcess(const std::string& task_id) {
  return absl::NotFoundError(fmt::format("no process of task {}", task_id));
}

}  // namespace

ProcessRuntime::ProcessRuntime(ShimHome home, ProcessRuntimeSettings settings)
    : home_(std::move(home)), settings_(std::move(settings)) {}

RuntimeFacts ProcessRuntime::facts() const {
  const bool is_v2 = base::Exists("/sys/fs/cgroup/cgroup.controllers");
  const bool is_v1 = base::Exists("/sys/fs/cgroup/memory");
  return {.kind = v1::CONTAINER_RUNTIME_PROCESS,
          .data_dir = home_.root(),
          .cgroup_version = is_v2   ? 2U
                            : is_v1 ? 1U
                                    : 0U};
}

absl::StatusOr<ImageConfig> ProcessRuntime::PrepareImage(
    const v1::TaskSpec&,
    const std::function<void(const v1::PullProgress&)>&,
    const std::stop_token& stop) {
  if (stop.stop_requested()) return absl::CancelledError("the task is being ended");
  return ImageConfig{};
}

std::string ProcessRuntime::FilePath(const std::string& task_id) const {
  return home_.TaskDir(task_id) + "/process.json";
}

std::string ProcessRuntime::Mark(const std::string& task_id) const {
  return fmt::format("{}={}/{}", kMarkName, settings_.shim_id, task_id);
}

std::string ProcessRuntime::CgroupName(const std::string& task_id) const {
  return "dstack-" + base::Sha256Hex(settings_.shim_id + "/" + task_id).substr(0, 16);
}

absl::StatusOr<ProcessRuntime::ProcessFile> ProcessRuntime::Load(const std::string& task_id) {
  base::MutexLock lock(file_mutex_);
  auto file = Read(task_id);
  if (!file.ok() || file->process || !file->is_starting) return file;
  file->process = FindByMark(task_id);
  if (!file->process) return file;
  if (const absl::Status saved = Save(task_id, *file); !saved.ok()) {
    telemetry::Warn("a process could not be noted", {{"task_id", task_id}, {"status", saved}});
  }
  return file;
}

absl::StatusOr<ProcessRuntime::ProcessFile> ProcessRuntime::Read(const std::string& task_id) const {
  const auto text = base::ReadFile(FilePath(task_id));
  if (absl::IsNotFound(text.status())) return NoProcess(task_id);
  if (!text.ok()) return text.status();
  const json object = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    ProcessFile file{.name = object.at("name"),
                     .command = object.at("command"),
                     .env = object.at("env"),
                     .memory_bytes = object.at("memory_bytes"),
                     .cpu_milli = object.at("cpu_milli"),
                     .is_starting = object.at("is_starting")};
    if (object.contains("pid")) {
      file.process = ProcessIdentity{.pid = object.at("pid"),
                                     .start_ticks = object.at("start_ticks"),
                                     .boot_id = object.at("boot_id")};
    }
    return file;
  } catch (const json::exception& e) {
    return absl::DataLossError(fmt::format("{}: {}", FilePath(task_id), e.what()));
  }
}

absl::Status ProcessRuntime::Save(const std::string& task_id, const ProcessFile& file) const {
  json object = {{"name", file.name},
                 {"command", file.command},
                 {"env", file.env},
                 {"memory_bytes", file.memory_bytes},
                 {"cpu_milli", file.cpu_milli},
                 {"is_starting", file.is_starting}};
  if (file.process) {
    object["pid"] = file.process->pid;
    object["start_ticks"] = file.process->start_ticks;
    object["boot_id"] = file.process->boot_id;
  }
  return base::WriteFileAtomic(FilePath(task_id), object.dump(), 0600);
}

absl::StatusOr<ContainerStatus> ProcessRuntime::Create(const LaunchSpec& launch) {
  const std::string& task_id = launch.task.task_id();
  auto existing = Load(task_id);
  if (existing.ok()) {
    const ContainerStatus status = ToStatus(task_id, *existing);
    if (status.state == ContainerState::kCreated) return status;
    return absl::FailedPreconditionError("the process was started before");
  }
  const SupervisorPlace place{.binary = settings_.runner_binary,
                              .task_dir = launch.runner_dir,
                              .ssh_dir = settings_.ssh_bundle_dir,
                              .socket_owner = settings_.owner,
                              .socket_group = settings_.group,
                              .log_level = settings_.runner_log_level};
  const ProcessFile file{.name = launch.container_name,
                         .command = SupervisorCommand(place, launch.task),
                         .env = MinimalEnv(launch, settings_, Mark(task_id)),
                         .memory_bytes = launch.task.memory_bytes(),
                         .cpu_milli = launch.task.cpu_milli()};
  RETURN_IF_ERROR(Save(task_id, file));
  return ToStatus(task_id, file);
}

absl::StatusOr<ContainerStatus> ProcessRuntime::Start(const std::string& task_id) {
  ASSIGN_OR_RETURN(ProcessFile file, Load(task_id));
  if (ToStatus(task_id, file).state != ContainerState::kCreated) return ToStatus(task_id, file);
  file.is_starting = true;
  RETURN_IF_ERROR(Save(task_id, file));
  FAILPOINT("shim.process.before_spawn");
  ASSIGN_OR_RETURN(file.process, Spawn(task_id, file));
  FAILPOINT("shim.process.after_spawn");
  if (const absl::Status saved = Save(task_id, file); !saved.ok()) {
    KillProcessTree(*file.process);
    return saved;
  }
  return ToStatus(task_id, file);
}

absl::StatusOr<ProcessIdentity> ProcessRuntime::Spawn(const std::string& task_id,
                                                      const ProcessFile& file) const {
  const std::string log = home_.TaskDir(task_id) + "/supervisor.log";
  const base::UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!output) return base::ErrnoError(errno, log);
  const std::string work = home_.TaskDir(task_id) + "/work";
  RETURN_IF_ERROR(base::MakeDirs(work, 0700));
  ASSIGN_OR_RETURN(process::Subprocess child,
                   process::Subprocess::Start(file.command,
                                              {.env = file.env,
                                               .cwd = work,
                                               .inherit_fds = {{output.get(), STDOUT_FILENO},
                                                               {output.get(), STDERR_FILENO}}}));
  // The command of the job comes later, by the server, so that all of it is born inside.
  TaskCgroup(CgroupName(task_id)).Enter(child.pid(), file.memory_bytes, file.cpu_milli);
  const auto identity = IdentifyProcess(child.pid());
  child.Detach();
  if (!identity) return absl::InternalError("the supervisor ended before it could be looked at");
  return *identity;
}

std::optional<ProcessIdentity> ProcessRuntime::FindByMark(const std::string& task_id) const {
  for (const pid_t pid : ProcessesWithEnv(Mark(task_id))) {
    // The supervisor leads the session; what it starts inherits the mark.
    if (::getsid(pid) == pid) return IdentifyProcess(pid);
  }
  return std::nullopt;
}

ContainerStatus ProcessRuntime::ToStatus(const std::string& task_id, const ProcessFile& file) {
  ContainerStatus status{.name = file.name, .task_id = task_id};
  if (!file.is_starting) return status;
  std::optional<ProcessIdentity> process = file.process;
  const std::string runner_dir = home_.RunnerDir(task_id);
  if (!process) {
    // Cut off around the spawn. Without a trace of a supervisor there was none; otherwise it ran,
    // and must not run again.
    const bool has_run =
        base::Exists(runner_dir + "/supervisor_exit") || base::Exists(runner_dir + "/started");
    if (!has_run) return status;
    process = ProcessIdentity{};
  }
  status.id = fmt::format("{}", process->pid);
  status.state = IsAlive(*process) ? ContainerState::kRunning : ContainerState::kExited;
  if (status.state == ContainerState::kRunning) status.pid = process->pid;
  if (status.state == ContainerState::kExited) status.exit_status = ExitStatus(task_id, *process);
  return status;
}

std::optional<int> ProcessRuntime::ExitStatus(const std::string& task_id,
                                              const ProcessIdentity& process) {
  base::MutexLock lock(mutex_);
  if (const auto it = exit_statuses_.find(task_id); it != exit_statuses_.end()) return it->second;
  int wait_status = 0;
  // Ours unless the shim was restarted; reaped here, where it is known to be a supervisor.
  if (process.pid > 0 && ::waitpid(process.pid, &wait_status, WNOHANG) == process.pid) {
    const int status =
        WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    exit_statuses_[task_id] = status;
    return status;
  }
  const auto text = base::ReadFile(home_.RunnerDir(task_id) + "/supervisor_exit");
  int status = 0;
  if (text.ok() && absl::SimpleAtoi(*text, &status)) return status;
  return std::nullopt;
}

void ProcessRuntime::WatchExit(const std::string& task_id,
                               std::function<void(absl::Status)> callback) {
  const auto file = Load(task_id);
  if (!file.ok()) return callback(file.status());
  if (!file->process) return callback(absl::OkStatus());
  watcher_.Watch(*file->process, [callback = std::move(callback)](bool has_ended) {
    callback(has_ended ? absl::OkStatus() : absl::CancelledError("the shim is stopping"));
  });
}

absl::StatusOr<ContainerStatus> ProcessRuntime::Inspect(const std::string& task_id) {
  ASSIGN_OR_RETURN(const ProcessFile file, Load(task_id));
  return ToStatus(task_id, file);
}

absl::Status ProcessRuntime::Signal(const std::string& task_id, int signal) {
  ASSIGN_OR_RETURN(const ProcessFile file, Load(task_id));
  if (signal == SIGKILL) {
    KillAll(task_id, file);
    return absl::OkStatus();
  }
  if (file.process && IsAlive(*file.process)) ::kill(file.process->pid, signal);
  return absl::OkStatus();
}

void ProcessRuntime::KillAll(const std::string& task_id, const ProcessFile& file) {
  if (file.process) KillProcessTree(*file.process);
  // What was orphaned by a supervisor that died before: found by its control group or by its mark.
  const TaskCgroup cgroup(CgroupName(task_id));
  cgroup.Kill();
  const auto deadline = base::DeadlineIn(kKillTimeout);
  while (std::chrono::steady_clock::now() < deadline) {
    std::vector<pid_t> left = cgroup.Processes();
    const std::vector<pid_t> marked = ProcessesWithEnv(Mark(task_id));
    left.insert(left.end(), marked.begin(), marked.end());
    // Zombies of ours are waited for in ExitStatus(); they have no environment and leave the group.
    std::erase_if(left, [](pid_t pid) {
      const auto identity = IdentifyProcess(pid);
      return !identity || !IsAlive(*identity);
    });
    if (left.empty()) return;
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(kKillPause);
  }
}

absl::Status ProcessRuntime::Remove(const std::string& task_id) {
  auto file = Load(task_id);
  // Without a file, or with a damaged one, there may still be processes with the task's mark.
  if (!file.ok()) file = ProcessFile{.is_starting = true};
  if (!file->process) file->process = FindByMark(task_id);
  KillAll(task_id, *file);
  const ContainerStatus status = ToStatus(task_id, *file);  // reaps
  if (status.state == ContainerState::kRunning) {
    return absl::UnavailableError(fmt::format("process {} does not end", status.id));
  }
  TaskCgroup(CgroupName(task_id)).Remove();
  {
    base::MutexLock lock(mutex_);
    exit_statuses_.erase(task_id);
  }
  base::MutexLock lock(file_mutex_);
  return base::RemoveAll(FilePath(task_id));
}

absl::StatusOr<std::vector<ContainerStatus>> ProcessRuntime::List() {
  std::vector<ContainerStatus> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(home_.Tasks(), error)) {
    const std::string task_id = entry.path().filename().string();
    const auto file = Load(task_id);
    if (file.ok()) all.push_back(ToStatus(task_id, *file));
  }
  // Processes of tasks whose directories are gone or damaged.
  for (const std::string& task_id : EnvSuffixes(Mark(""))) {
    const bool is_known = std::any_of(all.begin(), all.end(), [&](const ContainerStatus& status) {
      return status.task_id == task_id;
    });
    if (!is_known) all.push_back({.task_id = task_id, .state = ContainerState::kRunning});
  }
  return all;
}

absl::StatusOr<std::string> ProcessRuntime::Describe(const std::string& task_id) {
  ASSIGN_OR_RETURN(const ProcessFile file, Load(task_id));
  const ContainerStatus status = ToStatus(task_id, file);
  json object = {{"name", file.name},
                 {"command", file.command},
                 {"memory_bytes", file.memory_bytes},
                 {"cpu_milli", file.cpu_milli},
                 {"is_starting", file.is_starting},
                 {"is_running", status.state == ContainerState::kRunning},
                 {"cgroup_processes", TaskCgroup(CgroupName(task_id)).Processes()}};
  if (file.process) object["pid"] = file.process->pid;
  return object.dump(2, ' ', false, json::error_handler_t::replace);
}

std::string ProcessRuntime::OutputTail(const std::string& task_id) {
  const std::string text = base::ReadFile(home_.TaskDir(task_id) + "/supervisor.log").value_or("");
  std::vector<std::string> lines = absl::StrSplit(absl::StripAsciiWhitespace(text), '\n');
  if (lines.size() > kTailLines) lines.erase(lines.begin(), lines.end() - kTailLines);
  return absl::StrJoin(lines, "\n");
}

}  // namespace dstack::shim
