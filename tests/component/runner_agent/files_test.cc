#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/testing/await.h"
#include "libs/testing/small_disk.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

// A tar of the directory `name` below `dir`.
std::string Tar(const std::string& dir, const std::string& name) {
  const std::string path = dir + "/made.tar";
  const auto made = process::Run({"tar", "-C", dir, "-cf", path, name}, 20s);
  REQUIRE(made.ok());
  REQUIRE(made->exit.ok());
  return base::ReadFile(path).value();
}

// Submits a job with one archive and sends it.
void RunWithFile(Fixture& f, v1::JobSpec job, const std::string& tar, const std::string& to) {
  const std::string digest = base::Sha256Hex(tar);
  job.add_files()->set_digest(digest);
  job.mutable_files(0)->set_path(to);
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->Submit(job);
  CHECK(f.client->AwaitFilesNeeded() == std::vector<std::string>{digest});
  f.client->SendFile(digest, tar);
  CHECK(f.client->AwaitFilesNeeded().empty());
  f.client->StartJob();
}

TEST_CASE("files are there when the command starts") {
  const testing::TempDir source;
  REQUIRE(base::MakeDirs(source.path() + "/src/sub").ok());
  REQUIRE(base::WriteFileAtomic(source.path() + "/src/sub/data", std::string(5000, 'd')).ok());
  REQUIRE(base::WriteFileAtomic(source.path() + "/src/run.sh", "#!/bin/sh\necho ran\n", 0755).ok());
  Fixture f;
  v1::JobSpec job = MakeShellJob("renamed/run.sh; wc -c < renamed/sub/data");
  job.set_working_dir(f.runner.Path("work"));
  RunWithFile(f, job, Tar(source.path(), "src"), "renamed");
  CHECK(f.Finish().exit_status() == 0);
  CHECK(f.store.text[LOG_SOURCE_JOB] == "ran\n5000\n");
  CHECK(f.store.text[LOG_SOURCE_RUNNER].find("files unpacked to renamed") != std::string::npos);
}

TEST_CASE("files belong to the job's user") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  const testing::TempDir source;
  REQUIRE(base::WriteFileAtomic(source.path() + "/one.txt", "x").ok());
  Fixture f;
  v1::JobSpec job = MakeShellJob("stat -c '%U %n' one.txt");
  job.mutable_user()->set_username("nobody");
  const testing::TempDir work;
  REQUIRE(chmod(work.path().c_str(), 0755) == 0);
  job.set_working_dir(work.path() + "/w");
  RunWithFile(f, job, Tar(source.path(), "one.txt"), "one.txt");
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB] == "nobody one.txt\n");
}

TEST_CASE("an archive with another content than its digest is refused") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("true");
  job.add_files()->set_digest(base::Sha256Hex("right"));
  job.mutable_files(0)->set_path("x");
  f.runner.Start();
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.client->Submit(job);
  f.client->AwaitFilesNeeded();
  f.client->SendFile(base::Sha256Hex("right"), "wrong");
  CHECK(f.client->AwaitRefused().reason() == "DIGEST_MISMATCH");
  f.client->SendFile(base::Sha256Hex("other"), "other");
  CHECK(f.client->AwaitRefused().reason() == "INVALID_FIELDS");
  f.client->StartJob();
  CHECK(f.client->AwaitRefused().message().find("has not arrived") != std::string::npos);
}

TEST_CASE("a bad archive ends the job with its reason") {
  Fixture f;
  v1::JobSpec job = MakeShellJob("echo never");
  job.set_working_dir(f.runner.Path("work"));
  RunWithFile(f, job, "this is no tar", "x");
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK(status.message().find("files to x") != std::string::npos);
  CHECK(f.store.text[LOG_SOURCE_JOB].empty());
}

TEST_CASE("a disk without space for the files ends the job with that reason") {
  const auto disk = testing::SmallDisk::Make(300'000);
  if (disk == nullptr) return;
  const testing::TempDir source;
  REQUIRE(base::WriteFileAtomic(source.path() + "/large", std::string(1'000'000, 'x')).ok());
  Fixture f;
  v1::JobSpec job = MakeShellJob("echo never");
  job.set_working_dir(disk->Path("work"));
  RunWithFile(f, job, Tar(source.path(), "large"), "large");
  const v1::JobStatus status = f.Finish();
  CHECK(status.finish_reason() == v1::FINISH_REASON_EXECUTOR_ERROR);
  CHECK_THAT(status.message(),
             Catch::Contains("files to large") && Catch::Contains("No space left on device"));
  CHECK(f.store.text[LOG_SOURCE_JOB].empty());
}

}  // namespace
}  // namespace dstack::runner
