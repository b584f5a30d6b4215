#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/root_container.h"
#include "tests/component/runner_agent/ssh_login.h"

// The same job in images of every kind: environment, output, exit, and logins with the real ssh,
// sftp, scp and rsync.
namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

struct Image {
  std::string name;
  std::function<void(RootContainer&)> make;
  std::string login = "root";
  bool is_read_only = false;
  std::vector<std::string> env = {};
  std::string home = "/";  // that the job sees
  std::string uid = "0";
  std::string shell = "/bin/sh";  // of a login
};

const std::vector<std::string> kApplets = {
    "sh", "cat", "echo", "env", "id", "ls", "sleep", "true", "printenv", "read"};

std::vector<Image> Images() {
  return {
      {.name = "busybox with users",
       .make =
           [](RootContainer& c) {
             c.AddBusybox(kApplets);
             c.Write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
             c.MakeDir("/root");
             c.MakeDir("/tmp");
           },
       .home = "/root"},
      {.name = "glibc, another time zone and language",
       .make =
           [](RootContainer& c) {
             for (const char* program : {"/bin/bash", "/bin/cat", "/usr/bin/id", "/usr/bin/env"}) {
               c.AddDynamic(program);
             }
             REQUIRE(symlink("bash", (c.root() + "/bin/sh").c_str()) == 0);
             c.Write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
             c.MakeDir("/root");
           },
       .env = {"TZ=Pacific/Chatham", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8"},
       .home = "/root",
       .shell = "/bin/bash"},
      {.name = "no users, no /tmp", .make = [](RootContainer& c) { c.AddBusybox(kApplets); }},
      {.name = "a user by number that nobody knows",
       .make =
           [](RootContainer& c) {
             c.AddBusybox(kApplets);
             c.SetImageUser("12345");
           },
       .login = "12345",
       .uid = "12345"},
      {.name = "a user by name whose home is missing",
       .make =
           [](RootContainer& c) {
             c.AddBusybox(kApplets);
             c.Write("/etc/passwd",
                     "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/gone:/bin/sh\n");
             c.Write("/etc/group", "root:x:0:\nworker:x:1000:\n");
             c.Write("/etc/shadow", "root:*:1::::::\nworker:!:1::::::\n", 0640);
             c.SetImageUser("worker");
           },
       .login = "worker",
       .home = "/home/gone",
       .uid = "1000"},
      {.name = "a read-only root without users",
       .make = [](RootContainer& c) { c.AddBusybox(kApplets); },
       .is_read_only = true},
      {.name = "a read-only root with a user whose account is locked",
       .make =
           [](RootContainer& c) {
             c.AddBusybox(kApplets);
             c.MakeDir("/dev/shm");
             c.Write("/etc/passwd",
                     "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/gone:/bin/sh\n");
             c.Write("/etc/shadow", "root:*:1::::::\nworker:!:1::::::\n", 0640);
             c.SetImageUser("worker");
           },
       .login = "worker",
       .is_read_only = true,
       .home = "/home/gone",
       .uid = "1000"},
  };
}

std::vector<std::string> Join(std::vector<std::string> head, const std::vector<std::string>& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

// A connection through the job's sshd to a port in there; the one that surely answers is its own.
void CheckForward(const std::vector<std::string>& options,
                  const std::string& target,
                  std::uint32_t port) {
  const auto forward =
      RunTool(Join(Join({"ssh"}, options), {"-W", fmt::format("127.0.0.1:{}", port), target}));
  INFO(forward.stderr_text);
  CHECK(forward.stdout_text.starts_with("SSH-2.0-"));
}

void CheckLogins(RootContainer& container, const Image& image, std::uint32_t port) {
  const std::string target = image.login + "@127.0.0.1";
  const auto options = SshOptions(container.key(), port);
  const auto shell = SshInto(options, {"echo $DSTACK_RUN_NAME $SHELL; id -u"}, image.login);
  INFO(shell.stderr_text);
  CHECK(shell.stdout_text == "run " + image.shell + "\n" + image.uid + "\n");
  CheckForward(options, target, port);

  const testing::TempDir local;
  const std::string here = local.Path("here");
  const auto sftp = RunTool(Join(Join({"sftp"}, options), {"-b", "-", target}),
                            "get /usr/local/bin/mark " + here + "\n");
  INFO(sftp.stderr_text << sftp.stdout_text);
  CHECK(base::ReadFile(here).value_or("?") == "marked");

  const auto scp = RunTool(
      Join(Join({"scp", "-s"}, options), {target + ":/usr/local/bin/mark", local.Path("by-scp")}));
  INFO(scp.stderr_text);
  CHECK(base::ReadFile(local.Path("by-scp")).value_or("?") == "marked");
}

TEST_CASE("the same job in images of every kind") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  for (const Image& image : Images()) {
    DYNAMIC_SECTION(image.name) {
      RootContainer container;
      image.make(container);
      container.Write("/usr/local/bin/mark", "marked");
      container.Start({.is_read_only = image.is_read_only, .env = image.env});
      v1::JobSpec job = MakeJob({"sh",
                                 "-c",
                                 "echo \"$(id -u) $HOME $DSTACK_RUN_NAME $DSTACK_NODE_RANK $PWD "
                                 "$MINE${LANG:+ $LANG}\"; cat; exit 7"});
      (*job.mutable_env())["MINE"] = "of the job";
      v1::JobStatus status = container.Run(job);
      status = container.client().AwaitSshPort();
      CheckLogins(container, image, status.ssh_port());
      const std::string language = image.env.empty() ? "" : " tr_TR.UTF-8";
      const std::string line =
          fmt::format("{} {} run 0 / of the job{}\n", image.uid, image.home, language);
      container.client().AwaitText(common::v1::LOG_SOURCE_JOB, line);
      container.StopAndLeave();
      INFO(container.runner_log());
      // bash complains first about a language that the image has not.
      CHECK_THAT(container.output(), Catch::EndsWith(line));
    }
  }
}

TEST_CASE("an image with one static program: no shell, but sftp and forwards") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.Write("/busybox", base::ReadFile("/bin/busybox").value(), 0755);
  container.Write("/mark", "marked");
  container.Start();
  container.Run(MakeJob({"/busybox", "cat"}));
  const std::uint32_t port = container.client().AwaitSshPort().ssh_port();
  const auto options = SshOptions(container.key(), port);
  const testing::TempDir local;
  const auto sftp = RunTool(Join(Join({"sftp"}, options), {"-b", "-", "root@127.0.0.1"}),
                            "get /mark " + local.Path("mark") + "\n");
  INFO(sftp.stderr_text << container.runner_log());
  CHECK(base::ReadFile(local.Path("mark")).value_or("?") == "marked");
  CheckForward(options, "root@127.0.0.1", port);
  const auto shell = SshInto(options, {"true"});
  CHECK(shell.exit.code == 127);
  CHECK(shell.stderr_text.find("this image has no shell") != std::string::npos);
  container.StopAndLeave();
}

TEST_CASE("rsync into an image that has it") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  if (!base::Exists("/usr/bin/rsync")) return testing::Skip("package: rsync");
  RootContainer container;
  container.AddBusybox(kApplets);
  container.AddDynamic("/usr/bin/rsync");
  container.MakeDir("/data");
  container.Start();
  container.Run(MakeJob({"sh", "-c", "cat"}));
  const std::uint32_t port = container.client().AwaitSshPort().ssh_port();
  const testing::TempDir local;
  REQUIRE(base::WriteFileAtomic(local.Path("a"), "synced").ok());
  std::string remote_shell = "ssh";
  for (const std::string& option : SshOptions(container.key(), port)) remote_shell += " " + option;
  const auto rsync =
      RunTool({"rsync", "-a", "-e", remote_shell, local.path() + "/", "root@127.0.0.1:/data/"});
  INFO(rsync.stderr_text);
  CHECK(rsync.exit.code == 0);
  CHECK(base::ReadFile(container.root() + "/data/a").value_or("?") == "synced");
  container.StopAndLeave();
}

TEST_CASE("a login shell has the job's environment and begins in its working directory") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.AddBusybox(kApplets);
  container.Write("/etc/profile", "FROM_IMAGE=kept\n");
  container.Start();
  v1::JobSpec job = MakeJob({"sh", "-c", "cat"});
  job.set_working_dir("/work/of the job");
  (*job.mutable_env())["MINE"] = "it's $mine";
  container.Run(job);
  const std::uint32_t port = container.client().AwaitSshPort().ssh_port();
  const auto login =
      RunTool(Join(Join({"ssh"}, SshOptions(container.key(), port)), {"root@127.0.0.1"}),
              "pwd; echo \"$MINE\" $DSTACK_RUN_NAME $FROM_IMAGE\n");
  INFO(login.stderr_text << container.runner_log());
  CHECK(login.stdout_text == "/work/of the job\nit's $mine run kept\n");
  container.StopAndLeave();
}

TEST_CASE("a host key that the server chose, and an sshd that comes back") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.AddBusybox(kApplets);
  const testing::TempDir keys;
  const std::string host_key = MakeSshKey(keys.path());
  std::string public_key = base::ReadFile(host_key + ".pub").value();
  public_key = public_key.substr(0, public_key.find_last_not_of(" \n") + 1);
  container.Start();
  v1::JobSpec job = MakeJob({"sh", "-c", "cat"});
  job.set_ssh_host_private_key(base::ReadFile(host_key).value());
  container.Run(job);
  const v1::JobStatus status = container.client().AwaitSshPort();
  CHECK(status.ssh_host_key() == public_key);
  // A client that knows the key in advance verifies it.
  const auto options = SshOptions(
      container.key(), status.ssh_port(), TrustHostKey(keys.path(), status.ssh_port(), public_key));
  CHECK(SshInto(options, {"echo in"}).stdout_text == "in\n");
  // Its title shows no more than its loader.
  const pid_t sshd = container.ChildPid("ld-linux");
  REQUIRE(sshd > 0);
  kill(sshd, SIGKILL);
  container.client().AwaitText(common::v1::LOG_SOURCE_RUNNER, "sshd ended and is started again");
  testing::Await(20s, [&] { return SshInto(options, {"echo again"}).stdout_text == "again\n"; });
  container.StopAndLeave();
}

TEST_CASE("R1 the configured working directory is made and used by the command") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.AddBusybox(kApplets);
  container.Start();
  v1::JobSpec job = MakeJob({"sh", "-c", "pwd; echo $DSTACK_WORKING_DIR"});
  job.set_working_dir("/new/work");
  container.RunToEnd(job);
  CHECK(container.output() == "/new/work\n/new/work\n");
}

TEST_CASE("R2 without a working directory the command starts where the container did") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  RootContainer container;
  container.AddBusybox(kApplets);
  container.Start();
  container.RunToEnd(MakeJob({"sh", "-c", "pwd"}));
  CHECK(container.output() == "/\n");
}

}  // namespace
}  // namespace dstack::runner
