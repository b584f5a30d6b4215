#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_sshd.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/root_container.h"
#include "tests/component/runner_repo/git_fixture.h"

// Clones into images that lack what git and ssh usually find. Servers are on the machine's
// loopback.
namespace dstack::runner {
namespace {

using testing::GitHttpServer;
using testing::GitRepository;
using namespace std::chrono_literals;

// An image, and a repository with one file `a`.
struct ImageFixture : RootContainer {
  ImageFixture() : origin(srv.Path("r")) {
    AddBusybox({"sh", "cat", "echo", "id", "ls", "stat"});
    origin.Write("a", "cloned\n");
    origin.Commit("first");
  }

  static v1::JobSpec Job(const std::string& script,
                         const std::string& dir,
                         const std::string& url) {
    v1::JobSpec job = MakeJob({"sh", "-c", script});
    job.set_working_dir(dir);
    job.mutable_repo()->set_path(".");
    job.mutable_repo()->mutable_git()->set_clone_url(url);
    return job;
  }

  const testing::TempDir srv;
  const GitRepository origin;
};

TEST_CASE("a key repository for a user that is a mere number, with a read-only root") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  ImageFixture f;
  const testing::MiniSshd sshd;
  f.SetImageUser("12345");
  // A volume, as a container with a read-only root has for its work.
  f.MakeDir("/dev/shm");
  f.Start({.is_read_only = true});
  v1::JobSpec job = f.Job("cat a; id -u; stat -c %u a; ls -A1 /dev/shm/work",
                          "/dev/shm/work",
                          f.origin.SshUrl(sshd.user(), sshd.port()));
  job.mutable_repo()->mutable_git()->set_private_key(sshd.private_key().Reveal());
  const v1::JobStatus status = f.RunToEnd(job);
  INFO(status.message() << f.runner_log());
  CHECK(f.output() == "cloned\n12345\n12345\n.git\na\n");
  f.Leave();
}

TEST_CASE("R5 the key of a repository is in the home during the run") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  ImageFixture f;
  const testing::MiniSshd sshd;
  f.Write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/w:/bin/sh\n");
  f.Write("/etc/group", "worker:x:1000:\n");
  f.MakeDir("/home/w");
  REQUIRE(chown((f.root() + "/home/w").c_str(), 1000, 1000) == 0);
  f.SetImageUser("worker");
  f.Start();
  v1::JobSpec job = f.Job("cat ~/.ssh/id_rsa; stat -c '%a %u' ~/.ssh/id_rsa",
                          "/work",
                          f.origin.SshUrl(sshd.user(), sshd.port()));
  job.mutable_repo()->mutable_git()->set_private_key(sshd.private_key().Reveal());
  const v1::JobStatus status = f.RunToEnd(job);
  INFO(status.message() << f.runner_log());
  CHECK(f.output() == std::string(sshd.private_key().Reveal()) + "600 1000\n");
  CHECK_FALSE(base::Exists(f.root() + "/home/w/.ssh/id_rsa"));
  CHECK_FALSE(base::Exists(f.root() + "/dstack/git"));
  f.Leave();
}

TEST_CASE("https by an authority that the image knows, and by one that nobody knows") {
  if (!RootContainer::IsPossible()) return testing::Skip("kernel: no namespaces");
  ImageFixture f;
  const testing::TempDir keys;
  REQUIRE(process::RunChecked({"openssl",
                               "req",
                               "-x509",
                               "-newkey",
                               "rsa:2048",
                               "-nodes",
                               "-subj",
                               "/CN=127.0.0.1",
                               "-addext",
                               "subjectAltName=IP:127.0.0.1",
                               "-keyout",
                               keys.Path("key"),
                               "-out",
                               keys.Path("certificate")},
                              20s)
              .ok());
  const std::string certificate = base::ReadFile(keys.Path("certificate")).value();
  const std::string pair = keys.Path("pair");
  REQUIRE(base::WriteFileAtomic(pair, base::ReadFile(keys.Path("key")).value() + certificate).ok());
  const GitHttpServer server(f.srv.path(), "", pair);
  SECTION("known") {
    f.Write("/etc/ssl/certs/ca-certificates.crt", certificate);
    f.Start();
    const v1::JobStatus status = f.RunToEnd(f.Job("cat a", "/work", server.Url("r")));
    INFO(status.message() << f.runner_log());
    CHECK(f.output() == "cloned\n");
  }
  SECTION("unknown") {
    f.Start();
    const v1::JobStatus status = f.RunToEnd(f.Job("cat a", "/work", server.Url("r")));
    CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
    CHECK_THAT(status.message(), Catch::Contains("the server's certificate was not accepted"));
  }
  f.Leave();
}

}  // namespace
}  // namespace dstack::runner
