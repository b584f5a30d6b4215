#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_sshd.h"
#include "libs/testing/paths.h"
#include "libs/testing/small_disk.h"
#include "tests/component/runner_agent/fixture.h"
#include "tests/component/runner_agent/ssh_login.h"
#include "tests/component/runner_repo/git_fixture.h"

// A real runner that clones from real git servers on loopback, over http, https and ssh.
namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using testing::GitHttpServer;
using testing::GitRepository;

// Directory that the job's user may look into, as /dstack is in a container.
struct Shared {
  Shared() { REQUIRE(chmod(temp.path().c_str(), 0755) == 0); }
  testing::TempDir temp;
};

struct RepoFixture : Shared, Fixture {
  RepoFixture()
      : Fixture({"--ssh-dir", SshBundle(), "--shared-dir", temp.path()}), work(temp.Path("work")) {}

  v1::JobSpec Job(const std::string& script, const std::string& url) const {
    v1::JobSpec job = MakeShellJob(script);
    job.set_working_dir(work);
    job.mutable_repo()->set_repo_id("repo-12345678");
    job.mutable_repo()->set_path(".");
    job.mutable_repo()->set_exists_action(v1::REPO_EXISTS_ACTION_ERROR);
    job.mutable_repo()->mutable_git()->set_clone_url(url);
    return job;
  }
  // Up to the start; `file` is what the runner asks for.
  void RunWith(const v1::JobSpec& job, const std::string& file = "") {
    runner.Start();
    client.emplace(runner.Target(), runner.token(), store);
    client->Submit(job);
    if (!client->AwaitFilesNeeded().empty()) {
      client->SendFile(base::Sha256Hex(file), file);
      CHECK(client->AwaitFilesNeeded().empty());
    }
    client->StartJob();
  }
  v1::JobStatus RunToEnd(const v1::JobSpec& job, const std::string& file = "") {
    RunWith(job, file);
    const v1::JobStatus status = Finish();
    UNSCOPED_INFO(status.message() << log());
    return status;
  }
  const std::string& output() { return store.text[LOG_SOURCE_JOB]; }
  const std::string& log() { return store.text[LOG_SOURCE_RUNNER]; }

  const std::string work;
};

// The same with a repository on a server.
struct OriginFixture : RepoFixture {
  explicit OriginFixture(const std::string& token = "")
      : origin(temp.Path("srv/r")), server(temp.Path("srv"), token) {}

  std::string Commit(const std::string& name, const std::string& content) const {
    origin.Write(name, content);
    return origin.Commit(name);
  }
  v1::JobSpec Job(const std::string& script) const {
    return RepoFixture::Job(script, server.Url("r"));
  }

  const GitRepository origin;
  const GitHttpServer server;
};

TEST_CASE("R10 a remote repository is at the requested commit, with name and e-mail") {
  OriginFixture f;
  const std::string first = f.Commit("a.txt", "one\n");
  f.Commit("a.txt", "two\n");
  v1::JobSpec job =
      f.Job("cat a.txt; echo $DSTACK_REPO_ID; [ $DSTACK_REPO_DIR = $PWD ] && echo here; ls -A1");
  job.mutable_repo()->mutable_git()->set_hash(first);
  job.mutable_repo()->mutable_git()->set_user_name("Ann Example");
  job.mutable_repo()->mutable_git()->set_user_email("ann@example.com");
  CHECK(f.RunToEnd(job).exit_status() == 0);
  CHECK(f.output() == "one\nrepo-12345678\nhere\n.git\na.txt\n");
  const std::string config = base::ReadFile(f.work + "/.git/config").value();
  CHECK(config.find("name = Ann Example") != std::string::npos);
  CHECK(config.find("email = ann@example.com") != std::string::npos);
  CHECK(f.log().find("is at " + first.substr(0, 7)) != std::string::npos);
}

TEST_CASE("a branch, its submodules, and an LFS pointer that stays one") {
  OriginFixture f;
  const GitRepository inner(f.temp.Path("srv/inner"));
  inner.Write("deep.txt", "deep\n");
  inner.Commit("inner");
  const GitRepository middle(f.temp.Path("srv/middle"));
  middle.Git({"submodule", "--quiet", "add", "../inner", "inner"});
  middle.Commit("middle");
  f.Commit("main.txt", "main\n");
  f.origin.Git({"checkout", "--quiet", "-b", "topic"});
  f.origin.Git({"submodule", "--quiet", "add", "../middle", "sub/middle"});
  f.origin.Write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
  f.Commit("w.bin", "version https://git-lfs.github.com/spec/v1\n");
  f.origin.Git({"checkout", "--quiet", "main"});
  v1::JobSpec job = f.Job("cat sub/middle/inner/deep.txt w.bin; cat .git/HEAD");
  job.mutable_repo()->mutable_git()->set_branch("topic");
  job.mutable_repo()->mutable_git()->set_is_single_branch(true);
  f.RunToEnd(job);
  CHECK(f.output() == "deep\nversion https://git-lfs.github.com/spec/v1\nref: refs/heads/topic\n");
}

// A changed copy of the repository, whose diff a job brings along.
struct Changes : OriginFixture {
  Changes() : changed(temp.Path("changed")) {}

  // What the origin has so far is the commit that the diff is for.
  void Base() {
    commit = origin.Commit("base");
    changed.Git({"pull", "--quiet", origin.path(), "main"});
  }
  // Runs a job with this diff: everything is as in the copy.
  void Check(const std::string& diff) {
    v1::JobSpec job = Job("true");
    job.mutable_repo()->mutable_git()->set_hash(commit);
    job.mutable_repo()->mutable_git()->set_diff_digest(base::Sha256Hex(diff));
    REQUIRE(RunToEnd(job, diff).exit_status() == 0);
    CHECK(Listing(work) == Listing(changed.path()));
  }

  // Path, permission to execute and content of each file.
  static std::map<std::string, std::string> Listing(const std::string& root) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const std::string relative = std::filesystem::relative(entry.path(), root);
      if (relative.starts_with(".git") || !entry.is_regular_file()) continue;
      const char* mark = access(entry.path().c_str(), X_OK) == 0 ? "x " : "- ";
      files[relative] = mark + base::ReadFile(entry.path()).value();
    }
    return files;
  }

  const GitRepository changed;
  std::string commit;
};

TEST_CASE("D1 a diff with edits, renames, deletions, new directories and no last newline") {
  Changes c;
  c.origin.Write("edit.txt", "1\n2\n3\n");
  c.origin.Write("append.txt", "x\n");
  c.origin.Write("gone.txt", "bye\n");
  c.origin.Write("old/name.txt", "a\nb\nc\nd\ne\nf\ng\nh\n");
  c.origin.Write("moved.txt", "same content\n");
  c.origin.Write("bare.txt", "no end");
  c.origin.Write("stays-bare.txt", "1\n2\nno end");
  c.Base();
  c.changed.Write("edit.txt", "1\ntwo\n3\n");
  c.changed.Write("append.txt", "x\ny");
  c.changed.Git({"rm", "--quiet", "gone.txt"});
  c.changed.Git({"mv", "old/name.txt", "renamed.txt"});
  c.changed.Write("renamed.txt", "a\nb\nc\nd\ne\nf\ng\nH\n");
  c.changed.Git({"mv", "moved.txt", "moved2.txt"});
  c.changed.Write("bare.txt", "an end\n");
  c.changed.Write("stays-bare.txt", "1\nzwei\nno end");
  c.changed.Write("new/dir/file", "new\n");
  c.Check(c.changed.Diff());
  CHECK_FALSE(base::Exists(c.work + "/old"));
}

TEST_CASE("D2 a diff with binary content, permissions to execute, and without its last newline") {
  Changes c;
  c.origin.Write("run.sh", "echo x\n");
  c.origin.Write("no-more.sh", "echo x\n", 0755);
  c.origin.Write("blob", std::string("\0\1\2\3", 4) + std::string(300, 'b'));
  c.Base();
  c.changed.Write("run.sh", "echo x\n", 0755);
  c.changed.Write("no-more.sh", "echo x\n", 0644);
  c.changed.Write("new.sh", "echo new\n", 0755);
  c.changed.Write("blob", std::string("\0\5\6\7", 4) + std::string(300, 'c'));
  c.changed.Write("blob2", std::string("\0\xff\xfe", 3));
  std::string diff = c.changed.Diff();
  // As a client may cut it.
  while (diff.ends_with('\n')) diff.pop_back();
  c.Check(diff);
}

TEST_CASE("D2 a text diff without its last newline, and an empty one") {
  Changes c;
  c.origin.Write("a", "1\n2\n");
  c.Base();
  SECTION("cut") {
    c.changed.Write("a", "1\nzwei\n");
    std::string diff = c.changed.Diff();
    while (diff.ends_with('\n')) diff.pop_back();
    c.Check(diff);
  }
  SECTION("empty") { c.Check(""); }
}

TEST_CASE("a token repository: the token goes to its server and nowhere else") {
  OriginFixture f("s3cret-token");
  f.Commit("a", "private\n");
  v1::JobSpec job = f.Job("cat a; env; cat .git/config; ls " + f.temp.path());
  SECTION("right") {
    job.mutable_repo()->mutable_git()->set_oauth_token("s3cret-token");
    CHECK(f.RunToEnd(job).exit_status() == 0);
    CHECK(f.output().starts_with("private\n"));
    CHECK_FALSE(base::Exists(f.temp.Path("git")));
  }
  SECTION("wrong") {
    job.mutable_repo()->mutable_git()->set_oauth_token("s3cret-wrong");
    const v1::JobStatus status = f.RunToEnd(job);
    CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
    CHECK(status.message().find("authentication failed") != std::string::npos);
    CHECK(status.message().find("s3cret") == std::string::npos);
  }
  SECTION("none") {
    CHECK(f.RunToEnd(job).message().find("authentication failed: a token is needed") !=
          std::string::npos);
  }
  CHECK(f.output().find("s3cret") == std::string::npos);
  CHECK(f.log().find("s3cret") == std::string::npos);
}

TEST_CASE("a key repository over ssh") {
  OriginFixture f;
  f.Commit("a", "by key\n");
  const testing::MiniSshd sshd;
  v1::JobSpec job = f.RepoFixture::Job("cat a", f.origin.SshUrl(sshd.user(), sshd.port()));
  SECTION("with its key") {
    job.mutable_repo()->mutable_git()->set_private_key(sshd.private_key().Reveal());
    f.RunToEnd(job);
    CHECK(f.output() == "by key\n");
  }
  SECTION("without one") {
    CHECK(f.RunToEnd(job).message().find("the key was not accepted") != std::string::npos);
  }
}

TEST_CASE("what fails is said") {
  OriginFixture f;
  f.Commit("a", "x\n");
  v1::JobSpec job = f.Job("true");
  std::string diff;
  std::string expected;
  SECTION("commit") {
    job.mutable_repo()->mutable_git()->set_hash(std::string(40, 'a'));
    expected = "there is no commit";
  }
  SECTION("branch") {
    job.mutable_repo()->mutable_git()->set_branch("nope");
    expected = "there is no branch \"nope\"";
  }
  SECTION("repository") {
    job.mutable_repo()->mutable_git()->set_clone_url(f.server.Url("nope"));
    expected = "there is no such repository";
  }
  SECTION("host") {
    job.mutable_repo()->mutable_git()->set_clone_url("https://nowhere.invalid/r");
    expected = "the host is not known";
  }
  SECTION("server") {
    job.mutable_repo()->mutable_git()->set_clone_url("http://127.0.0.1:1/r");
    expected = "refuses the connection";
  }
  SECTION("a diff that does not fit") {
    diff = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-other\n+new\n";
    expected = "the changes do not fit the commit";
  }
  SECTION("a diff that leaves the repository") {
    diff =
        "diff --git a/../out b/../out\nnew file mode 100644\n--- /dev/null\n+++ b/../out\n@@ -0,0 "
        "+1 @@\n+x\n";
    expected = "the diff names a path outside";
  }
  SECTION("a directory that is in use") {
    REQUIRE(base::MakeDirs(f.work).ok());
    REQUIRE(base::WriteFileAtomic(f.work + "/mine", "x").ok());
    expected = "is not empty";
  }
  if (!diff.empty()) job.mutable_repo()->mutable_git()->set_diff_digest(base::Sha256Hex(diff));
  const v1::JobStatus status = f.RunToEnd(job, diff);
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  INFO(status.message());
  CHECK(status.message().find(expected) != std::string::npos);
  CHECK_FALSE(base::Exists(f.temp.Path("out")));
}

TEST_CASE("a directory with lost+found is empty, one that is skipped stays") {
  OriginFixture f;
  f.Commit("a", "cloned\n");
  v1::JobSpec job = f.Job("cat a");
  REQUIRE(base::MakeDirs(f.work + "/lost+found").ok());
  SECTION("lost+found") {
    f.RunToEnd(job);
    CHECK(f.output() == "cloned\n");
    CHECK(base::Exists(f.work + "/lost+found"));
  }
  SECTION("half done by an earlier runner") {
    REQUIRE(base::WriteFileAtomic(f.work + "/.dstack-checkout", "").ok());
    REQUIRE(base::WriteFileAtomic(f.work + "/a", "half").ok());
    f.RunToEnd(job);
    CHECK(f.output() == "cloned\n");
    CHECK_FALSE(base::Exists(f.work + "/.dstack-checkout"));
  }
  SECTION("skip") {
    REQUIRE(base::WriteFileAtomic(f.work + "/a", "mine\n").ok());
    job.mutable_repo()->set_exists_action(v1::REPO_EXISTS_ACTION_SKIP);
    f.RunToEnd(job);
    CHECK(f.output() == "mine\n");
  }
}

TEST_CASE("a disk without space for the repository is said") {
  const auto disk = testing::SmallDisk::Make(300'000);
  if (disk == nullptr) return;
  OriginFixture f;
  std::string noise;
  for (int i = 0; i < 20'000; ++i) noise += base::Sha256Hex(std::to_string(i));
  f.Commit("large", noise);
  v1::JobSpec job = f.Job("echo never");
  job.set_working_dir(disk->Path("work"));
  const v1::JobStatus status = f.RunToEnd(job);
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK_THAT(status.message(), Catch::Contains("no space left on the disk"));
  CHECK(f.output().empty());
}

// Every commit has the one before as a submodule of itself.
TEST_CASE("submodules come down to ten levels, deeper ones are refused") {
  OriginFixture f;
  std::string commit = f.Commit(".gitmodules", "[submodule \"r\"]\n\tpath = r\n\turl = ../r\n");
  f.origin.Git({"rm", "--quiet", "--cached", ".gitmodules"});
  f.origin.Git({"commit", "--quiet", "--amend", "--allow-empty", "-m", "level 0"});
  commit = f.origin.Git({"rev-parse", "HEAD"});
  const auto add_level = [&] {
    f.origin.Git({"add", ".gitmodules"});
    f.origin.Git({"update-index", "--add", "--cacheinfo", "160000," + commit + ",r"});
    f.origin.Git({"commit", "--quiet", "-m", "one level more"});
    commit = f.origin.Git({"rev-parse", "HEAD"});
  };
  for (int level = 0; level < 10; ++level) add_level();
  SECTION("ten") {
    CHECK(f.RunToEnd(f.Job("cd r/r/r/r/r/r/r/r/r/r && git --no-pager log --format=%s"))
              .exit_status() == 0);
    CHECK(f.output() == "level 0\n");
  }
  SECTION("eleven") {
    add_level();
    CHECK_THAT(f.RunToEnd(f.Job("echo never")).message(),
               Catch::Contains("submodules are nested deeper than 10"));
  }
}

TEST_CASE("a hostile repository runs nothing: no hooks, no filters, no links out") {
  OriginFixture f;
  f.origin.Write("a", "x\n");
  f.origin.Write(".gitattributes", "* filter=evil\n");
  f.origin.Write(".gitmodules",
                 "[submodule \"evil\"]\n\tpath = evil\n\turl = ext::sh -c \"touch " +
                     f.temp.Path("owned") + "\"\n\tupdate = !touch " + f.temp.Path("owned") + "\n");
  f.origin.Git({"add", "--all"});
  f.origin.Git(
      {"update-index", "--add", "--cacheinfo", "160000," + std::string(40, '1') + ",evil"});
  f.origin.Git({"commit", "--quiet", "-m", "evil"});
  const v1::JobStatus status = f.RunToEnd(f.Job("echo never"));
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(status.message().find("submodules") != std::string::npos);
  CHECK_FALSE(base::Exists(f.temp.Path("owned")));
}

TEST_CASE("a repository belongs to the job's user") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  OriginFixture f;
  f.Commit("dir/a", "x\n");
  v1::JobSpec job = f.Job("stat -c '%U %n' . dir dir/a .git/HEAD");
  job.mutable_user()->set_username("nobody");
  f.RunToEnd(job);
  CHECK(f.output() == "nobody .\nnobody dir\nnobody dir/a\nnobody .git/HEAD\n");
}

TEST_CASE("R6 an uploaded tar is extracted into the directory of the repository") {
  RepoFixture f;
  REQUIRE(base::MakeDirs(f.temp.Path("src/sub")).ok());
  REQUIRE(base::WriteFileAtomic(f.temp.Path("src/sub/a"), "from tar\n").ok());
  REQUIRE(process::Run({"tar", "-C", f.temp.path(), "-cf", f.temp.Path("a.tar"), "src"},
                       std::chrono::seconds(20))
              ->exit.ok());
  const std::string tar = base::ReadFile(f.temp.Path("a.tar")).value();
  v1::JobSpec job = MakeShellJob("cat ../code/sub/a");
  job.set_working_dir(f.work);
  job.mutable_repo()->set_path("../code");
  job.mutable_repo()->set_archive_digest(base::Sha256Hex(tar));
  f.RunToEnd(job, tar);
  CHECK(f.output() == "from tar\n");
}

TEST_CASE("a stop ends a clone that hangs") {
  RepoFixture f;
  // A server that takes connections and never answers.
  testing::MiniSshd sshd;
  sshd.Pause();
  const std::string url = "ssh://127.0.0.1:" + std::to_string(sshd.port()) + "/r";
  f.RunWith(f.Job("true", url));
  f.client->AwaitText(LOG_SOURCE_RUNNER, "cloning");
  f.client->StopJob(0);
  CHECK(f.Finish().finish_reason() == v1::FINISH_REASON_STOPPED);
  f.Leave();
  sshd.Resume();
}

}  // namespace
}  // namespace dstack::runner
