// Hosts behind a real sshd: installation, session, jobs, and all the ways the connection breaks.

#include <fstream>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/stat.h>

#include "fmt/format.h"
#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/exec/thread_pool.h"
#include "libs/process/alive.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_sshd.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "services/server/agents/host_installer.h"
#include "services/server/agents/ssh_transport.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

constexpr const char* kServerId = "0123456789abcdef";

struct Fixture {
  testing::MiniSshd sshd;
  testing::TempDir dir;
  std::unique_ptr<SshTransports> transports;
  std::string runner_path = dir.Path("dstack-runner");
  std::unique_ptr<AgentBundle> bundle;
  std::unique_ptr<AgentInstaller> installer;
  ssh::KeyPair project_key = *ssh::GenerateKeyPair("project");

  Fixture() {
    auto made = SshTransports::Create(dir.path());
    REQUIRE(made.ok());
    transports = *std::move(made);
    REQUIRE(base::WriteFileAtomic(runner_path, "#!/bin/sh\nexit 0\n", 0755).ok());
    REQUIRE(base::MakeDirs(dir.Path("bundle/bin")).ok());
    REQUIRE(base::WriteFileAtomic(dir.Path("bundle/bin/sshd"), "sshd", 0755).ok());
    MakeInstaller("");
  }
  ~Fixture() {
    auto transport = Connect();
    if (transport != nullptr) installer->Uninstall(*transport, {}, {}).IgnoreError();
  }

  void MakeInstaller(const std::string& base_image) {
    bundle = std::make_unique<AgentBundle>(AgentBundle::Paths{
        testing::BuildDir() + "/test-bin/agents_fake_shim", runner_path, dir.Path("bundle")});
    installer =
        std::make_unique<AgentInstaller>(*bundle, AgentInstaller::Options{kServerId, base_image});
  }

  HostConnection Connection() const {
    HostConnection connection;
    connection.host.hostname = "127.0.0.1";
    connection.host.port = sshd.port();
    connection.host.user = sshd.user();
    connection.host.private_keys = {sshd.private_key()};
    connection.project_public_key = project_key.public_key;
    return connection;
  }
  std::unique_ptr<HostTransport> Connect() {
    auto transport = transports->Make({}, Connection(), nullptr);
    const absl::Status status = transport->Connect({});
    return status.ok() ? std::move(transport) : nullptr;
  }
  std::string HostPath(const std::string& name) const {
    return sshd.home() + "/.dstack/hosts/" + kServerId + "/" + name;
  }
  std::string Read(const std::string& path) const { return base::ReadFile(path).value_or(""); }
  InstallRequest Request() const { return {project_key.public_key, {}}; }
  void AwaitShim() {
    testing::Await(10s, [&] { return base::Exists(HostPath("shim.sock")); });
  }
};

TEST_CASE("agents are installed once, by digest, and the shim runs") {
  Fixture f;
  auto transport = f.Connect();
  REQUIRE(transport != nullptr);
  const auto socket = f.installer->Install(*transport, f.Request(), {});
  REQUIRE(socket.status().ToString() == "OK");
  CHECK(*socket == f.HostPath("shim.sock"));
  f.AwaitShim();
  const auto files = *f.bundle->Get();
  CHECK(*base::Sha256HexOfFile(f.HostPath("bin/" + files->shim.VersionedName())) ==
        files->shim.digest);
  CHECK(f.Read(f.HostPath(files->ssh->VersionedName() + "/bin/sshd")) == "sshd");
  struct stat info {};
  REQUIRE(stat(f.HostPath("").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);

  // Again: nothing is started anew.
  const std::string pid = f.Read(f.HostPath("shim.pid"));
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  CHECK(f.Read(f.HostPath("shim.pid")) == pid);
  CHECK(process::IsAlive(std::stoi(pid)));
}

TEST_CASE("another version takes the place of the running one") {
  Fixture f;
  auto transport = f.Connect();
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  f.AwaitShim();
  const std::string pid = f.Read(f.HostPath("shim.pid"));
  f.MakeInstaller("registry/other:image with a blank");
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  CHECK(f.Read(f.HostPath("shim.pid")) != pid);
  CHECK_FALSE(process::IsAlive(std::stoi(pid)));
  CHECK_THAT(f.Read(f.HostPath("start-shim")),
             Catch::Contains("'registry/other:image with a blank'"));
  f.AwaitShim();
}

TEST_CASE("a shim that runs is left to the upgrade over its session, unless it does not answer") {
  Fixture f;
  auto transport = f.Connect();
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  f.AwaitShim();
  const std::string pid = f.Read(f.HostPath("shim.pid"));
  REQUIRE(base::WriteFileAtomic(f.HostPath("release.json"), "{}").ok());
  REQUIRE(base::WriteFileAtomic(f.runner_path, "#!/bin/sh\nexit 1\n", 0755).ok());
  f.MakeInstaller("");
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  CHECK(f.Read(f.HostPath("shim.pid")) == pid);
  const auto files = *f.bundle->Get();
  CHECK_FALSE(base::Exists(f.HostPath("bin/" + files->runner.VersionedName())));
  InstallRequest request = f.Request();
  request.takes_over = true;
  REQUIRE(f.installer->Install(*transport, request, {}).ok());
  CHECK(f.Read(f.HostPath("shim.pid")) != pid);
  CHECK(base::Exists(f.HostPath("bin/" + files->runner.VersionedName())));
  CHECK_FALSE(base::Exists(f.HostPath("release.json")));
  f.AwaitShim();
}

TEST_CASE("a shim that was killed is started again") {
  Fixture f;
  auto transport = f.Connect();
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  f.AwaitShim();
  const std::string pid = f.Read(f.HostPath("shim.pid"));
  kill(std::stoi(pid), SIGKILL);
  testing::Await(5s, [&] { return !process::IsAlive(std::stoi(pid)); });
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  CHECK(f.Read(f.HostPath("shim.pid")) != pid);
}

TEST_CASE("the project's key is added once and removed with everything else") {
  Fixture f;
  const std::string keys = f.sshd.home() + "/.ssh/authorized_keys";
  REQUIRE(base::MakeDirs(f.sshd.home() + "/.ssh", 0700).ok());
  REQUIRE(base::WriteFileAtomic(keys, "# mine\nssh-rsa AAAAB3Nz someone", 0600).ok());
  auto transport = f.Connect();
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  REQUIRE(f.installer->Install(*transport, f.Request(), {}).ok());
  const std::string bare = *ssh::BareKey(f.project_key.public_key);
  CHECK(f.Read(keys) ==
        fmt::format("# mine\nssh-rsa AAAAB3Nz someone\n{} dstack-{}\n", bare, kServerId));
  const std::string pid = f.Read(f.HostPath("shim.pid"));
  REQUIRE(f.installer->Uninstall(*transport, f.Request(), {}).ok());
  CHECK(f.Read(keys) == "# mine\nssh-rsa AAAAB3Nz someone\n");
  CHECK_FALSE(base::Exists(f.sshd.home() + "/.dstack/hosts"));
  CHECK_FALSE(process::IsAlive(std::stoi(pid)));
  CHECK(f.installer->Uninstall(*transport, f.Request(), {}).ok());
}

TEST_CASE("a shim that cannot start tells why") {
  Fixture f;
  auto transport = f.Connect();
  InstallRequest request = f.Request();
  request.env = {{"FAKE_SHIM_FAILS", "unix:///it's gone"}};
  REQUIRE(f.installer->Install(*transport, request, {}).ok());
  testing::AwaitEqual(
      5s,
      [&] { return f.installer->Diagnose(*transport); },
      std::string("cannot talk to the engine at unix:///it's gone"));
}

TEST_CASE("directories of servers that were killed are removed") {
  testing::TempDir dir;
  const std::string old = dir.Path(fmt::format("dstack-ssh-{}-aaaaaa", getuid()));
  REQUIRE(base::MakeDirs(old).ok());
  REQUIRE(base::WriteFileAtomic(old + "/lock", "").ok());
  const auto first = SshTransports::Create(dir.path());
  REQUIRE(first.ok());
  CHECK_FALSE(base::Exists(old));
  // A living one stays.
  REQUIRE(SshTransports::Create(dir.path()).ok());
  Fixture f;
  REQUIRE(f.Connect() != nullptr);
}

}  // namespace
}  // namespace dstack::server
