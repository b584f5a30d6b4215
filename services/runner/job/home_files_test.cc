#include "services/runner/job/home_files.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

v1::JobSpec KeyJob() {
  v1::JobSpec job;
  job.mutable_repo()->mutable_git()->set_clone_url("git@example.com:o/r.git");
  job.mutable_repo()->mutable_git()->set_private_key("KEY");
  return job;
}

unsigned ModeOf(const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

TEST_CASE("R5 ssh credentials are in the home during the job and gone afterwards") {
  const testing::TempDir home;
  const JobUser user{.uid = getuid(), .gid = getgid(), .name = "u", .home = home.path()};
  HomeFiles files;
  REQUIRE(files.Place(KeyJob(), user, 10022, false).ok());
  CHECK(base::ReadFile(home.Path(".ssh/id_rsa")).value() == "KEY\n");
  CHECK(ModeOf(home.Path(".ssh/id_rsa")) == 0600);
  CHECK(ModeOf(home.Path(".ssh")) == 0700);
  files.Remove();
  CHECK_FALSE(base::Exists(home.Path(".ssh/id_rsa")));
}

TEST_CASE("a key of the user's own stays as it is, before and after") {
  const testing::TempDir home;
  REQUIRE(base::MakeDirs(home.Path(".ssh")).ok());
  REQUIRE(base::WriteFileAtomic(home.Path(".ssh/id_rsa"), "mine").ok());
  const JobUser user{.uid = getuid(), .gid = getgid(), .name = "u", .home = home.path()};
  HomeFiles files;
  REQUIRE(files.Place(KeyJob(), user, 10022, false).ok());
  files.Remove();
  CHECK(base::ReadFile(home.Path(".ssh/id_rsa")).value() == "mine");
}

TEST_CASE("a token becomes a file of the GitHub client") {
  const testing::TempDir home;
  v1::JobSpec job;
  job.mutable_repo()->mutable_git()->set_clone_url("https://github.com/o/r");
  job.mutable_repo()->mutable_git()->set_oauth_token("tok");
  const JobUser user{.uid = getuid(), .gid = getgid(), .name = "u", .home = home.path()};
  HomeFiles files;
  REQUIRE(files.Place(job, user, 10022, false).ok());
  const std::string path = home.Path(".config/gh/hosts.yml");
  CHECK(base::ReadFile(path).value().starts_with("github.com:\n    oauth_token: tok\n"));
  CHECK(ModeOf(path) == 0600);
}

TEST_CASE("no home, no files; and links are not followed as another user") {
  HomeFiles none;
  CHECK(none.Place(KeyJob(), {.uid = 0, .gid = 0, .name = "root", .home = "/"}, 1, false).ok());
  if (geteuid() != 0) return;
  const testing::TempDir outside;  // of root alone
  const testing::TempDir home;
  REQUIRE(chown(home.path().c_str(), 65534, 65534) == 0);
  REQUIRE(symlink(outside.path().c_str(), home.Path(".ssh").c_str()) == 0);
  HomeFiles files;
  const JobUser nobody{.uid = 65534, .gid = 65534, .name = "nobody", .home = home.path()};
  CHECK_FALSE(files.Place(KeyJob(), nobody, 10022, true).ok());
  CHECK_FALSE(base::Exists(outside.Path("id_rsa")));
}

TEST_CASE("several nodes reach each other by address") {
  const testing::TempDir home;
  v1::JobSpec job;
  job.mutable_cluster()->add_node_addresses("10.0.0.1");
  job.mutable_cluster()->add_node_addresses("10.0.0.2");
  job.mutable_cluster()->set_ssh_private_key("PRIVATE\n");
  job.mutable_cluster()->add_ssh_ports(0);
  job.mutable_cluster()->add_ssh_ports(40022);
  const JobUser user{.uid = getuid(), .gid = getgid(), .name = "u", .home = home.path()};
  HomeFiles files;
  REQUIRE(files.Place(job, user, 10022, false).ok());
  const std::string config = base::ReadFile(home.Path(".ssh/config")).value();
  CHECK(config.find("Host 10.0.0.1\n    Port 10022\n") != std::string::npos);
  CHECK(config.find("Host 10.0.0.2\n    Port 40022\n") != std::string::npos);
  CHECK(config.find("IdentityFile " + home.Path(".ssh/dstack_job")) != std::string::npos);
  CHECK(ModeOf(home.Path(".ssh/dstack_job")) == 0600);
  // Again, as after a restart in the same home: nothing doubles.
  HomeFiles again;
  REQUIRE(again.Place(job, user, 10022, false).ok());
  CHECK(base::ReadFile(home.Path(".ssh/config")).value() == config);
}

TEST_CASE("one node needs no key") {
  v1::JobSpec job;
  job.mutable_cluster()->add_node_addresses("");
  job.mutable_cluster()->set_ssh_private_key("PRIVATE");
  CHECK(ClusterSshConfig(job, 1, "/k").empty());
}

}  // namespace
}  // namespace dstack::runner
