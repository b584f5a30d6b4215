#include "libs/testing/mini_cluster.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <utility>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/docker/containers.h"
#include "libs/process/alive.h"
#include "libs/process/reaper.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"

namespace dstack::testing {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::size_t kMostOutput = std::size_t{256} << 20;
constexpr char kReadyLine[] = "The server is running at http://127.0.0.1:";
constexpr char kNoEngine[] = "unix:///nonexistent/docker.sock";

std::string CommandLine(pid_t pid) {
  std::string text = base::ReadFile(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

bool HasWords(const std::string& line, const std::vector<std::string>& words) {
  return std::all_of(words.begin(), words.end(), [&](const std::string& word) {
    return line.find(word) != std::string::npos;
  });
}

// Of the processes below a supervisor: neither the runner's own nor sshd and ssh-keygen.
bool IsOfJob(pid_t pid) {
  const std::string line = CommandLine(pid);
  const bool is_ours =
      HasWords(line, {"dstack-runner"}) || HasWords(line, {"/ssh/"}) || HasWords(line, {"/ssh-"});
  return !line.empty() && !is_ours && !HasWords(line, {"sshd"}) && process::IsAlive(pid);
}

pid_t ReadPid(const std::string& path) {
  const std::string text = base::ReadFile(path).value_or("");
  return text.empty() ? 0 : std::atoi(text.c_str());
}

std::string Trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::vector<std::string> DstackArgv(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv{Binary("dstack")};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

// YAML: a string in double quotes.
std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

}  // namespace

std::unique_ptr<MiniCluster> MiniCluster::Start(Options options) {
  std::unique_ptr<MiniDocker> docker;
  if (options.runtime == Runtime::kDocker) {
    auto engine =
        options.is_engine_privileged ? MiniDocker::StartPrivileged() : MiniDocker::Start();
    if (!engine.ok()) {
      Skip(engine.status().ToString());
      return nullptr;
    }
    docker = *std::move(engine);
    const absl::Status image = docker->EnsureBusybox();
    INFO(image.ToString());
    REQUIRE(image.ok());
  }
  std::unique_ptr<MiniCluster> cluster(new MiniCluster(std::move(options)));
  cluster->docker_host_ = docker ? docker->host() : kNoEngine;
  cluster->docker_ = std::move(docker);
  cluster->StartServer();
  const Options& started = cluster->options_;
  if (started.has_local_host && started.is_idle_awaited) cluster->AwaitIdle();
  return cluster;
}

MiniCluster::MiniCluster(Options options) : options_(std::move(options)) {}

MiniCluster::~MiniCluster() { EndProcesses(); }

// --- The command line ---

std::vector<std::string> MiniCluster::Env() const {
  return {"HOME=" + home_.path(), "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TERM=xterm", "NO_COLOR=1"};
}

process::RunResult MiniCluster::Cli(const std::vector<std::string>& arguments,
                                    std::chrono::nanoseconds timeout) const {
  process::Options options;
  options.env = Env();
  options.cwd = home_.path();
  options.output_limit_bytes = kMostOutput;
  const auto result = process::Run(DstackArgv(arguments), timeout, options);
  INFO("dstack " << Catch::Detail::stringify(arguments) << ": " << result.status());
  REQUIRE(result.ok());
  return *result;
}

std::string MiniCluster::CliOk(const std::vector<std::string>& arguments,
                               std::chrono::nanoseconds timeout) const {
  const process::RunResult result = Cli(arguments, timeout);
  INFO("dstack " << Catch::Detail::stringify(arguments) << "\n"
                 << result.stdout_text << "\n"
                 << result.stderr_text);
  REQUIRE(result.exit.ShellStatus() == 0);
  return result.stdout_text;
}

std::unique_ptr<LiveProgram> MiniCluster::StartCli(const std::vector<std::string>& arguments,
                                                   bool on_terminal) const {
  return std::make_unique<LiveProgram>(
      DstackArgv(arguments),
      LiveProgram::Options{.env = Env(), .cwd = home_.path(), .on_terminal = on_terminal});
}

std::string MiniCluster::WriteFile(const std::string& name, const std::string& text) const {
  std::string path = home_.Path(name);
  REQUIRE(base::WriteFileAtomic(path, text, 0600).ok());
  return path;
}

std::string MiniCluster::WriteTask(const std::string& name,
                                   const std::vector<std::string>& commands,
                                   const std::string& more) const {
  std::string text = fmt::format("type: task\nname: {}\n", name);
  const bool names_image = more.find("image:") != std::string::npos;
  if (options_.runtime == Runtime::kDocker && !names_image) {
    text += fmt::format("image: {}\n", kBusyboxImage);
  }
  if (!commands.empty()) text += "commands:\n";
  for (const std::string& command : commands) text += fmt::format("  - {}\n", Quoted(command));
  // The machine of the tests may be small.
  text += "resources: {cpu: 1.., memory: 64MB.., disk: 100MB..}\n" + more + "\n";
  return WriteFile(name + ".dstack.yml", text);
}

// --- What the API says ---

nlohmann::json MiniCluster::Run(const std::string& name) const {
  return nlohmann::json::parse(CliOk({"run", "get", name, "--json"}));
}

std::string MiniCluster::RunStatus(const std::string& name) const {
  const process::RunResult result = Cli({"run", "get", name, "--json"});
  if (!result.exit.ok()) return Trimmed(result.stderr_text);
  return nlohmann::json::parse(result.stdout_text).at("status");
}

nlohmann::json MiniCluster::Submission(const std::string& name) const {
  const nlohmann::json run = Run(name);
  const nlohmann::json& jobs = run.at("jobs");
  REQUIRE(jobs.size() == 1);
  const nlohmann::json& submissions = jobs[0].at("submissions");
  REQUIRE_FALSE(submissions.empty());
  return submissions.back();
}

void MiniCluster::AwaitRun(const std::string& name,
                           const std::string& status,
                           std::chrono::nanoseconds timeout) const {
  std::string last;
  Await(
      timeout,
      [&] {
        last = RunStatus(name);
        return last == status;
      },
      [&] {
        return name + " is " + last + "\n" + Cli({"ps", "-a", "-v"}).stdout_text + ServerLog();
      });
}

nlohmann::json MiniCluster::Instances(const std::string& fleet) const {
  const auto answer = nlohmann::json::parse(CliOk({"fleet", "get", fleet, "--json"}));
  return answer.at("instances");
}

void MiniCluster::AwaitIdle(const std::string& fleet, std::chrono::nanoseconds timeout) const {
  std::string last;
  Await(
      timeout,
      [&] {
        const nlohmann::json instances = Instances(fleet);
        const std::vector<std::string> containers = Containers();
        last = fmt::format("{} and {} containers", instances.dump(1), containers.size());
        return !instances.empty() && containers.empty() &&
               std::all_of(instances.begin(), instances.end(), [](const nlohmann::json& instance) {
                 return instance.at("status") == "idle" && instance.at("busy_blocks") == 0;
               });
      },
      [&] { return last + "\n" + ServerLog(); });
}

// --- Hosts ---

MiniSshd& MiniCluster::AddHost(const std::string& fleet, int blocks) {
  hosts_.push_back(std::make_unique<MiniSshd>("DOCKER_HOST=" + docker_host_));
  MiniSshd& host = *hosts_.back();
  const std::string key = WriteFile(fleet + ".key", std::string(host.private_key().Reveal()));
  const std::string file = WriteFile(
      fleet + ".dstack.yml",
      fmt::format("type: fleet\nname: {}\nssh_config:\n  user: {}\n  identity_file: {}\n"
                  "  hosts:\n    - hostname: 127.0.0.1\n      port: {}\n      blocks: {}\n",
                  fleet,
                  host.user(),
                  key,
                  host.port(),
                  blocks));
  CliOk({"apply", "-f", file, "-y"});
  AwaitIdle(fleet);
  return host;
}

// --- Processes ---

void MiniCluster::Launch() {
  const std::string log = home_.Path("server.log");
  const base::UniqueFd fd(open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  REQUIRE(fd);
  std::vector<std::string> argv{Binary("dstack-server"),
                                "--port",
                                std::to_string(port_),
                                "--home",
                                server_home(),
                                "--base-image",
                                kBusyboxImage,
                                "--yes"};
  if (options_.has_local_host) argv.emplace_back("--local-host");
  if (!options_.database_url.empty()) {
    argv.insert(argv.end(), {"--database-url", options_.database_url});
  }
  argv.insert(argv.end(), options_.server_arguments.begin(), options_.server_arguments.end());
  process::Options start;
  start.env = Env();
  start.env->push_back("DOCKER_HOST=" + docker_host_);
  start.env->insert(start.env->end(), options_.server_env.begin(), options_.server_env.end());
  start.cwd = home_.path();
  start.inherit_fds = {{fd.get(), 1}, {fd.get(), 2}};
  auto server = process::Subprocess::Start(argv, start);
  INFO(server.status().ToString());
  REQUIRE(server.ok());
  server_.emplace(*std::move(server));
}

std::optional<std::uint16_t> MiniCluster::PrintedPort() const {
  const std::string log = ServerLog();
  const std::size_t at = log.find(kReadyLine);
  if (at == std::string::npos || log.find('\n', at) == std::string::npos) return std::nullopt;
  return static_cast<std::uint16_t>(std::atoi(log.c_str() + at + sizeof(kReadyLine) - 1));
}

void MiniCluster::StartServer() {
  Launch();
  Await(
      30s,
      [&] {
        const auto port = PrintedPort();
        if (port) port_ = *port;
        return port.has_value() || !IsServerRunning();
      },
      [&] { return ServerLog(); });
  INFO(ServerLog());
  REQUIRE(IsServerRunning());
}

void MiniCluster::SignalServer(int signal) { REQUIRE(server_->Kill(signal).ok()); }

bool MiniCluster::IsServerRunning() { return server_ && !server_->Poll(); }

void MiniCluster::KillServer() {
  // The process alone, not its group: what it started is on its own then.
  REQUIRE(server_->Kill(SIGKILL).ok());
  REQUIRE(server_->WaitUntil(base::DeadlineIn(10s)).ok());
  server_->Detach();
  server_.reset();
}

void MiniCluster::StopServer() {
  REQUIRE(server_->Kill(SIGTERM).ok());
  const auto exit = server_->WaitUntil(base::DeadlineIn(30s));
  INFO(ServerLog());
  REQUIRE(exit.ok());
  CHECK(exit->ok());
  server_.reset();
}

std::string MiniCluster::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::string MiniCluster::ServerLog() const {
  return base::ReadFile(home_.Path("server.log")).value_or("");
}

std::vector<std::string> MiniCluster::HostHomes() const {
  std::vector<std::string> bases{server_home() + "/host"};
  for (const auto& host : hosts_) bases.push_back(host->home());
  std::vector<std::string> homes;
  for (const std::string& base : bases) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(base + "/.dstack/hosts", error)) {
      homes.push_back(entry.path());
    }
  }
  return homes;
}

std::vector<std::string> MiniCluster::Roots() const {
  std::vector<std::string> roots{home_.path() + "/"};
  for (const auto& host : hosts_) roots.push_back(host->home() + "/");
  return roots;
}

std::vector<pid_t> MiniCluster::Processes() const {
  const std::vector<std::string> roots = Roots();
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    const std::string line = CommandLine(pid);
    const bool is_ours = std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
      return line.find(root) != std::string::npos;
    });
    if (is_ours) found.push_back(pid);
  }
  return found;
}

pid_t MiniCluster::FindProcess(const std::vector<std::string>& words) const {
  pid_t found = 0;
  Await(
      10s,
      [&] {
        for (const pid_t pid : Processes()) {
          // The first: copies of it, without exec, come later.
          if (found == 0 && HasWords(CommandLine(pid), words)) found = pid;
        }
        return found != 0;
      },
      [&] { return "no process with " + Catch::Detail::stringify(words); });
  return found;
}

pid_t MiniCluster::PostgresPid() const {
  return ReadPid(server_home() + "/postgres/data/postmaster.pid");
}

pid_t MiniCluster::SshMasterPid() const {
  pid_t found = 0;
  Await(10s, [&] {
    for (const pid_t pid : process::ChildrenOf(server_pid())) {
      if (HasWords(CommandLine(pid), {"ControlMaster=yes"}) && process::IsAlive(pid)) found = pid;
    }
    return found != 0;
  });
  return found;
}

pid_t MiniCluster::ShimPid() const {
  pid_t found = 0;
  Await(10s, [&] {
    for (const std::string& home : HostHomes()) {
      for (const pid_t pid : process::ChildrenOf(ReadPid(home + "/shim.pid"))) {
        // A deliverer of the task's last lines is a child of the shim, not of its supervisor.
        if (process::IsAlive(pid)) found = pid;
      }
    }
    return found != 0;
  });
  return found;
}

// A process host names the directory of a task by a short link to it.
std::string MiniCluster::TaskLink(const std::string& task) const {
  std::string found;
  Await(10s, [&] {
    for (const std::string& home : HostHomes()) {
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(home + "/s", error)) {
        const std::string target = fs::read_symlink(entry.path(), error);
        if (target.find(task) != std::string::npos) found = entry.path();
      }
    }
    return !found.empty();
  });
  return found;
}

pid_t MiniCluster::SupervisorPid(const std::string& run) const {
  const std::string task = Submission(run).at("id");
  if (options_.runtime == Runtime::kProcess) {
    return FindProcess({" supervise ", TaskLink(task)});
  }
  const auto ids = docker::ListContainers(
      docker_->client(), {{"ai.dstack.shim.task-id", task}}, std::stop_token());
  REQUIRE(ids.ok());
  REQUIRE(ids->size() == 1);
  const auto info = docker::InspectContainer(docker_->client(), (*ids)[0], std::stop_token());
  REQUIRE(info.ok());
  return static_cast<pid_t>(info->pid);
}

pid_t MiniCluster::RunnerServePid(const std::string& run) const {
  const pid_t supervisor = SupervisorPid(run);
  pid_t found = 0;
  Await(10s, [&] {
    for (const pid_t pid : process::ChildrenOf(supervisor)) {
      if (HasWords(CommandLine(pid), {"dstack-runner", " serve "}) && process::IsAlive(pid))
        found = pid;
    }
    return found != 0;
  });
  return found;
}

pid_t MiniCluster::JobPid(const std::string& run) const {
  const pid_t supervisor = SupervisorPid(run);
  pid_t found = 0;
  Await(10s, [&] {
    for (const pid_t pid : process::ChildrenOf(supervisor)) {
      if (IsOfJob(pid)) found = pid;
    }
    return found != 0;
  });
  return found;
}

std::vector<pid_t> MiniCluster::JobTree(const std::string& run) const {
  std::vector<pid_t> tree = process::DescendantsOf(SupervisorPid(run));
  std::erase_if(tree, [](pid_t pid) { return !IsOfJob(pid); });
  return tree;
}

absl::StatusOr<std::vector<std::string>> MiniCluster::ListContainers() const {
  std::vector<std::string> all;
  if (!docker_) return all;
  for (const std::string& home : HostHomes()) {
    const std::string shim_id = Trimmed(base::ReadFile(home + "/shim_id").value_or(""));
    if (shim_id.empty()) continue;
    ASSIGN_OR_RETURN(const std::vector<std::string> ids,
                     docker::ListContainers(
                         docker_->client(), {{"ai.dstack.shim.id", shim_id}}, std::stop_token()));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return all;
}

std::vector<std::string> MiniCluster::Containers() const {
  const auto containers = ListContainers();
  INFO(containers.status().ToString());
  REQUIRE(containers.ok());
  return *containers;
}

// The server first: it would bring its agents back. What ignores the polite way is killed. A shared
// cluster ends after Catch has: no REQUIRE here.
void MiniCluster::EndProcesses() {
  const pid_t postgres = PostgresPid();
  if (IsServerRunning()) {
    static_cast<void>(server_->Kill(SIGCONT));
    static_cast<void>(server_->Kill(SIGTERM));
    static_cast<void>(server_->WaitUntil(base::DeadlineIn(15s)));
  }
  EndAgents();
  if (docker_) {
    for (const std::string& id : ListContainers().value_or(std::vector<std::string>())) {
      static_cast<void>(docker::RemoveContainer(docker_->client(), id, std::stop_token()));
    }
  }
  // Survives a server that was killed.
  if (postgres > 0 && HasWords(CommandLine(postgres), {"postgres"})) kill(postgres, SIGQUIT);
}

void MiniCluster::EndAgents() {
  // Supervisors first: they start what ends.
  for (const std::string& home : HostHomes()) {
    const pid_t supervisor = ReadPid(home + "/shim.pid");
    if (supervisor > 0 && HasWords(CommandLine(supervisor), {home})) kill(supervisor, SIGKILL);
  }
  std::set<pid_t> rest;
  for (const pid_t pid : Processes()) {
    rest.insert(pid);
    const std::vector<pid_t> below = process::DescendantsOf(pid);
    rest.insert(below.begin(), below.end());
  }
  for (const pid_t pid : rest) kill(pid, SIGKILL);
}

}  // namespace dstack::testing
