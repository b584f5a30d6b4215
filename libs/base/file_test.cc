#include "libs/base/file.h"

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/testing/temp_dir.h"

namespace dstack::base {
namespace {

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

std::size_t EntriesIn(const std::string& path) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
}

TEST_CASE("an atomic write replaces content and mode and leaves nothing else") {
  testing::TempDir dir;
  const std::string path = dir.Path("f");
  REQUIRE(WriteFileAtomic(path, "old", 0644).ok());
  REQUIRE(WriteFileAtomic(path, std::string_view("new\0x", 5), 0600).ok());
  CHECK(*ReadFile(path) == std::string("new\0x", 5));
  CHECK(ModeOf(path) == 0600);
  CHECK(EntriesIn(dir.path()) == 1);
}

TEST_CASE("a failed write leaves the old file") {
  testing::TempDir dir;
  REQUIRE(MakeDirs(dir.Path("d/full")).ok());
  CHECK_FALSE(WriteFileAtomic(dir.Path("d"), "x").ok());
  CHECK(EntriesIn(dir.path()) == 1);
  CHECK(WriteFileAtomic(dir.Path("none/f"), "x").code() == absl::StatusCode::kNotFound);
}

TEST_CASE("reading has a limit") {
  testing::TempDir dir;
  REQUIRE(WriteFileAtomic(dir.Path("f"), "12345").ok());
  CHECK(ReadFile(dir.Path("f"), 5).ok());
  CHECK(ReadFile(dir.Path("f"), 4).status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(ReadFile(dir.Path("none")).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("directories are made with their mode, and a file in the way is an error") {
  testing::TempDir dir;
  REQUIRE(MakeDirs(dir.Path("a/b/c"), 0700).ok());
  REQUIRE(MakeDirs(dir.Path("a/b/c"), 0755).ok());
  CHECK(ModeOf(dir.Path("a/b")) == 0700);
  CHECK(ModeOf(dir.Path("a/b/c")) == 0700);
  REQUIRE(WriteFileAtomic(dir.Path("f"), "").ok());
  CHECK_FALSE(MakeDirs(dir.Path("f")).ok());
  CHECK_FALSE(MakeDirs(dir.Path("f/x")).ok());
}

TEST_CASE("removing takes the link, not its target") {
  testing::TempDir dir;
  REQUIRE(MakeDirs(dir.Path("keep")).ok());
  REQUIRE(WriteFileAtomic(dir.Path("keep/f"), "").ok());
  REQUIRE(MakeDirs(dir.Path("gone/x")).ok());
  REQUIRE(symlink(dir.Path("keep").c_str(), dir.Path("gone/x/link").c_str()) == 0);
  REQUIRE(RemoveAll(dir.Path("gone")).ok());
  CHECK_FALSE(Exists(dir.Path("gone")));
  CHECK(Exists(dir.Path("keep/f")));
  CHECK(RemoveAll(dir.Path("gone")).ok());
}

TEST_CASE("a tree that others remove too is removed without an error") {
  testing::TempDir dir;
  const std::string tree = dir.Path("tree");
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 8; ++i) {
      REQUIRE(MakeDirs(tree + "/" + std::to_string(i) + "/a/b").ok());
      REQUIRE(WriteFileAtomic(tree + "/" + std::to_string(i) + "/a/f", "").ok());
    }
    std::atomic<int> failures = 0;
    {
      std::vector<std::jthread> threads(4);
      for (std::jthread& thread : threads) {
        thread = std::jthread([&] {
          if (!RemoveAll(tree).ok()) ++failures;
        });
      }
    }
    CHECK(failures == 0);
    CHECK_FALSE(Exists(tree));
  }
}

TEST_CASE("paths join with one slash") {
  CHECK(JoinPath("a", "b") == "a/b");
  CHECK(JoinPath("a/", "b") == "a/b");
  CHECK(JoinPath("", "b") == "b");
}

TEST_CASE("a pipe carries bytes and closes with its owner") {
  auto pipe = MakePipe();
  REQUIRE(pipe.ok());
  REQUIRE(WriteAll(pipe->write.get(), "hello").ok());
  pipe->write.reset();
  char buffer[16];
  CHECK(*ReadSome(pipe->read.get(), buffer, sizeof(buffer)) == 5);
  CHECK(*ReadSome(pipe->read.get(), buffer, sizeof(buffer)) == 0);
}

TEST_CASE("a directory that nobody can make is an error") {
  // The parent is there, and still the kernel says "no such file or directory".
  CHECK(MakeDirs("/proc/dstack-none/x").code() == absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace dstack::base
