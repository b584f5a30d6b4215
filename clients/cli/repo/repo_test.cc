#include <catch2/catch.hpp>

#include "clients/cli/flags/run_flags.h"
#include "clients/cli/repo/access.h"
#include "clients/cli/repo/prepare.h"
#include "clients/cli/repo/work_tree.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::cli {
namespace {

using config::v1::RunConfiguration;

std::string Git(const std::string& directory, std::vector<std::string> arguments) {
  std::vector<std::string> argv = {"git",
                                   "-C",
                                   directory,
                                   "-c",
                                   "user.name=T",
                                   "-c",
                                   "user.email=t@e",
                                   "-c",
                                   "init.defaultBranch=main"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const auto result = process::Run(argv, std::chrono::seconds(30));
  REQUIRE(result.ok());
  INFO(result->stderr_text);
  REQUIRE(result->exit.ok());
  return result->stdout_text.substr(0, result->stdout_text.find('\n'));
}

// A work tree that tracks a repository beside it.
struct Trees {
  Trees() : origin(temp.Path("origin")), mine(temp.Path("mine")) {
    REQUIRE(base::MakeDirs(origin).ok());
    Git(origin, {"init", "--quiet"});
    Write(origin, "a.txt", "one\n");
    Write(origin, ".gitignore", "*.log\n");
    Git(origin, {"add", "--all"});
    Git(origin, {"commit", "--quiet", "-m", "first"});
    pushed = Git(origin, {"rev-parse", "HEAD"});
    Git(temp.path(), {"clone", "--quiet", origin, mine});
    Git(mine, {"config", "user.name", "Ann"});
  }
  static void Write(const std::string& root, const std::string& name, const std::string& content) {
    REQUIRE(base::WriteFileAtomic(base::JoinPath(root, name), content).ok());
  }

  testing::TempDir temp;
  const std::string origin;
  const std::string mine;
  std::string pushed;
};

TEST_CASE("a work tree: remote, branch, the commit that the remote has, and all that differs") {
  Trees trees;
  Trees::Write(trees.mine, "committed.txt", "c\n");
  Git(trees.mine, {"add", "--all"});
  Git(trees.mine, {"commit", "--quiet", "-m", "not pushed"});
  Trees::Write(trees.mine, "a.txt", "edited\n");
  Trees::Write(trees.mine, "untracked.txt", "u\n");
  Trees::Write(trees.mine, "ignored.log", "l\n");
  const std::string before = Git(trees.mine, {"status", "--porcelain"});
  const auto tree = ReadWorkTree(trees.mine);
  INFO(tree.status());
  REQUIRE(tree.ok());
  CHECK(tree->remote_url == trees.origin);
  CHECK(tree->branch == "main");
  CHECK(tree->hash == trees.pushed);
  CHECK(tree->user_name == "Ann");
  for (const char* part : {"committed.txt", "+edited", "untracked.txt"}) {
    CHECK(tree->diff.find(part) != std::string::npos);
  }
  CHECK(tree->diff.find("ignored") == std::string::npos);
  CHECK(Git(trees.mine, {"status", "--porcelain"}) == before);
}

TEST_CASE("a clean work tree has no diff") {
  Trees trees;
  CHECK(ReadWorkTree(trees.mine)->diff.empty());
}

TEST_CASE("directories that are no usable work tree say why") {
  Trees trees;
  const auto why = [](const std::string& path) {
    return std::string(base::Message(ReadWorkTree(path).status()));
  };
  CHECK(why(trees.temp.Path("absent")).find("is no directory") != std::string::npos);
  REQUIRE(base::MakeDirs(trees.temp.Path("plain")).ok());
  CHECK(why(trees.temp.Path("plain")).find("is no git work tree") != std::string::npos);
  CHECK(why(trees.origin).find("tracks no branch") != std::string::npos);
  Git(trees.mine, {"checkout", "--quiet", "--detach"});
  CHECK(why(trees.mine).find("detached HEAD") != std::string::npos);
}

TEST_CASE("flags of the repository beat the document") {
  RunConfiguration run;
  run.mutable_task();
  run.add_repos()->set_local_path(".");
  run.mutable_repos(0)->set_path("code");
  RunFlags flags;
  flags.repo = "https://example.com/r";
  flags.repo_branch = "b";
  flags.repo_hash = "abcd1234";
  REQUIRE(ApplyRunFlags(flags, &run).ok());
  REQUIRE(run.repos_size() == 1);
  CHECK_FALSE(run.repos(0).has_local_path());
  CHECK(run.repos(0).url() == "https://example.com/r");
  CHECK(run.repos(0).branch() == "b");
  CHECK(run.repos(0).hash() == "abcd1234");
  CHECK(run.repos(0).path() == "code");

  RunFlags none;
  none.no_repo = true;
  REQUIRE(ApplyRunFlags(none, &run).ok());
  CHECK(run.repos().empty());
  RunFlags lonely;
  lonely.repo_hash = "abcd";
  CHECK_FALSE(ApplyRunFlags(lonely, &run).ok());
}

TEST_CASE("the token of the GitHub client, by host") {
  const std::string yml =
      "github.com:\n    user: ann\n    oauth_token: gho_a\nghe.example.com:\n  oauth_token: "
      "gho_b\n";
  CHECK(GhToken(yml, "github.com") == "gho_a");
  CHECK(GhToken(yml, "ghe.example.com") == "gho_b");
  CHECK(GhToken(yml, "gitlab.com").empty());
}

TEST_CASE("a diff that is too large names its largest parts") {
  const std::string diff =
      "diff --git a/small b/small\n+x\ndiff --git a/big b/big\n" + std::string(100, '+') + "\n";
  CHECK(LargestParts(diff).starts_with("a/big b/big (124 bytes), a/small"));
}

}  // namespace
}  // namespace dstack::cli
