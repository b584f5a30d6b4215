#include "tests/component/runner_agent/root_container.h"

#include <chrono>
#include <filesystem>
#include <sstream>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/process/proc_stat.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/ssh_login.h"

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

constexpr char kBusybox[] = "/bin/busybox";
// Arguments: root, runner, bundle, "ro" or "rw", "pts" or "none", commands, environment for the
// runner.
constexpr char kEnter[] =
    "root=$1; runner=$2; bundle=$3; mode=$4; terminals=$5; before=$6; shift 6\n"
    "mount --bind \"$root\" \"$root\"\n"
    "mount --bind \"$runner\" \"$root/usr/local/bin/dstack-runner\"\n"
    "mount --bind \"$bundle\" \"$root/opt/dstack/ssh\"\n"
    "mount --bind \"$root/dstack/runner\" \"$root/dstack/runner\"\n"
    "mount -t proc proc \"$root/proc\"\n"
    "[ \"$terminals\" = none ] ||"
    " mount -t devpts -o newinstance,ptmxmode=0666 devpts \"$root/dev/pts\"\n"
    "eval \"$before\"\n"
    "[ ! -d \"$root/dev/shm\" ] || mount -t tmpfs tmpfs \"$root/dev/shm\"\n"
    "[ \"$mode\" = rw ] || mount -o remount,bind,ro \"$root\"\n"
    "exec env -i \"$@\" chroot \"$root\" /usr/local/bin/dstack-runner supervise"
    " --task-dir /dstack/runner --ssh-dir /opt/dstack/ssh";

}  // namespace

bool RootContainer::IsPossible() {
  const auto tried = process::Run({"unshare", "--pid", "--fork", "--mount", "true"}, 20s);
  return geteuid() == 0 && tried.ok() && tried->exit.ok();
}

RootContainer::RootContainer() {
  // As the root of an image is: other users may look into it.
  REQUIRE(chmod(root().c_str(), 0755) == 0);
  for (const char* dir : {"/proc", "/dev/pts", "/opt/dstack/ssh"}) MakeDir(dir);
  // Others may look into /dstack, but not into the task's directory.
  MakeDir("/dstack");
  REQUIRE(base::MakeDirs(task_dir(), 0700).ok());
  REQUIRE(symlink("pts/ptmx", (root() + "/dev/ptmx").c_str()) == 0);
  MakeDevice("null", "3");
  MakeDevice("urandom", "9");
  Write("/usr/local/bin/dstack-runner", "");  // mounted
  REQUIRE(base::WriteFileAtomic(task_dir() + "/token", token_, 0600).ok());
  MakeSshKey(keys_.path());
  REQUIRE(
      base::WriteFileAtomic(task_dir() + "/authorized_keys", base::ReadFile(key() + ".pub").value())
          .ok());
}

// Of the kernel's memory devices.
void RootContainer::MakeDevice(const std::string& name, const std::string& minor) const {
  const std::string path = root() + "/dev/" + name;
  REQUIRE(process::RunChecked({"mknod", "-m", "666", path, "c", "1", minor}, 20s).ok());
}

void RootContainer::MakeDir(const std::string& path) const {
  REQUIRE(base::MakeDirs(root() + path, 0755).ok());
}

void RootContainer::Write(const std::string& path,
                          const std::string& content,
                          unsigned mode) const {
  MakeDir(path.substr(0, path.rfind('/')));
  REQUIRE(base::WriteFileAtomic(root() + path, content, mode).ok());
}

void RootContainer::AddBusybox(const std::vector<std::string>& names) const {
  MakeDir("/bin");
  std::filesystem::copy_file(kBusybox, root() + "/bin/busybox");
  for (const std::string& name : names) {
    REQUIRE(symlink("busybox", (root() + "/bin/" + name).c_str()) == 0);
  }
}

void RootContainer::AddDynamic(const std::string& program) const {
  const auto listed = process::RunChecked({"ldd", program}, 20s);
  REQUIRE(listed.ok());
  std::vector<std::string> files = {program};
  std::istringstream words(*listed);
  for (std::string word; words >> word;) {
    if (word.starts_with('/')) files.push_back(word);
  }
  for (const std::string& file : files) {
    MakeDir(file.substr(0, file.rfind('/')));
    std::filesystem::copy_file(std::filesystem::canonical(file),
                               root() + file,
                               std::filesystem::copy_options::skip_existing);
  }
}

void RootContainer::SetImageUser(const std::string& user) const {
  REQUIRE(
      base::WriteFileAtomic(task_dir() + "/image_config.json", "{\"user\":\"" + user + "\"}").ok());
}

void RootContainer::Start(const Options& options) {
  std::vector<std::string> argv = {"unshare",
                                   "--pid",
                                   "--fork",
                                   "--kill-child",
                                   "--mount",
                                   "sh",
                                   "-ec",
                                   kEnter,
                                   "sh",
                                   root(),
                                   testing::StaticBinary("dstack-runner"),
                                   SshBundle(),
                                   options.is_read_only ? "ro" : "rw",
                                   options.has_terminals ? "pts" : "none",
                                   options.before};
  argv.push_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
  argv.insert(argv.end(), options.env.begin(), options.env.end());
  auto started = process::Subprocess::Start(argv);
  INFO(started.status());
  REQUIRE(started.ok());
  process_.emplace(*std::move(started));
  testing::Await(20s, [this] { return base::Exists(task_dir() + "/runner.sock"); });
  client_.emplace("unix:" + task_dir() + "/runner.sock", token_, store_);
}

void RootContainer::Submit(const v1::JobSpec& job) {
  client_->Submit(job);
  CHECK(client_->AwaitFilesNeeded().empty());
  client_->StartJob();
}

v1::JobStatus RootContainer::Run(const v1::JobSpec& job) {
  Submit(job);
  return client_->AwaitState(v1::JOB_STATE_RUNNING);
}

v1::JobStatus RootContainer::RunToEnd(const v1::JobSpec& job) {
  Submit(job);
  const v1::JobStatus status = client_->AwaitState(v1::JOB_STATE_FINISHED);
  client_->AwaitEndOfLogs();
  return status;
}

pid_t RootContainer::ChildPid(const std::string& word) const {
  const std::vector<process::ProcessEntry> processes = process::ListProcesses();
  pid_t runner = -1;
  for (const process::ProcessEntry& process : processes) {
    if (process.parent == process_->pid()) runner = process.pid;
  }
  for (const process::ProcessEntry& process : processes) {
    const auto line = base::ReadFile("/proc/" + std::to_string(process.pid) + "/cmdline");
    const bool is_it = line.ok() && line->find(word) != std::string::npos;
    if (process.parent == runner && is_it) return process.pid;
  }
  return -1;
}

process::Exit RootContainer::Leave() {
  client_->AwaitEndOfLogs();
  client_->AckEnd();
  client_->AwaitClosed();
  return process_->WaitUntil(base::DeadlineIn(20s)).value();
}

process::Exit RootContainer::StopAndLeave() {
  client_->StopJob(0);
  client_->AwaitState(v1::JOB_STATE_FINISHED);
  return Leave();
}

}  // namespace dstack::runner
