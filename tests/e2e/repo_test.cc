// Code from git: an address in the document, and a work tree with changes of its own.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_repo/git_fixture.h"

namespace dstack {
namespace {

using Catch::Contains;
using testing::GitHttpServer;
using testing::GitRepository;
using testing::MiniCluster;

TEST_CASE("code from git") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  const testing::TempDir temp;
  const GitRepository origin(temp.Path("srv/r"));
  origin.Write("run.sh", "echo from git\n");
  const std::string first = origin.Commit("first");
  origin.Write("run.sh", "echo later\n");
  origin.Commit("second");
  const GitHttpServer server(temp.Path("srv"));
  const std::string url = server.Url("r");

  // By address, at a commit.
  const std::string plain = cluster->WriteTask("plain", {"cd code && sh run.sh", "pwd"});
  const auto by_address =
      cluster->Cli({"apply", "-y", "-f", plain, "--repo", url + ":code", "--repo-hash", first});
  INFO(by_address.stderr_text);
  CHECK(by_address.exit.code == 0);
  CHECK_THAT(by_address.stdout_text, Contains("from git\n"));

  // A work tree: what is not pushed comes along.
  const GitRepository mine(temp.Path("mine"));
  mine.Git({"remote", "add", "origin", url});
  mine.Git({"fetch", "--quiet", "origin"});
  mine.Git({"checkout", "--quiet", "-B", "main", "--track", "origin/main"});
  mine.Write("run.sh", "echo mine; cat new/file; git --version 2>&1 | head -n 1\n");
  mine.Write("new/file", "untracked\n");
  const std::string tree = cluster->WriteTask("tree",
                                              {"cd code && sh run.sh", "echo $DSTACK_REPO_DIR"},
                                              "repos: [" + mine.path() + ":code]");
  const auto by_tree = cluster->Cli({"apply", "-y", "-f", tree});
  INFO(by_tree.stderr_text);
  CHECK(by_tree.exit.code == 0);
  CHECK_THAT(by_tree.stdout_text, Contains("mine\nuntracked\n"));
  CHECK_THAT(by_tree.stdout_text, Contains("/code\n"));

  // What cannot be cloned is known before the run is submitted.
  const auto absent = cluster->Cli({"apply", "-y", "-f", plain, "--repo", server.Url("nope")});
  CHECK(absent.exit.code == 1);
  CHECK_THAT(absent.stderr_text, Contains("cannot be cloned"));
  const auto none = cluster->Cli({"apply", "-y", "-f", tree, "--no-repo", "-n", "tree"});
  CHECK(none.exit.code != 0);  // there is no directory code
  cluster->AwaitIdle();
}

}  // namespace
}  // namespace dstack
