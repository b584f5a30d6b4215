#include "services/runner/archive/unpack.h"

#include <string>
#include <vector>

#include <archive.h>
#include <archive_entry.h>
#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/temp_dir.h"
#include "services/runner/archive/tree_writer.h"

namespace dstack::runner {
namespace {

struct Entry {
  std::string path;
  mode_t type = AE_IFREG;
  std::string content;  // of a file, or the target of a link
  mode_t mode = 0644;
  bool is_hardlink = false;
};

std::string MakeTar(const testing::TempDir& temp, const std::vector<Entry>& entries) {
  const std::string path = temp.Path("a.tar");
  archive* writer = archive_write_new();
  archive_write_set_format_pax_restricted(writer);
  REQUIRE(archive_write_open_filename(writer, path.c_str()) == ARCHIVE_OK);
  for (const Entry& entry : entries) {
    archive_entry* header = archive_entry_new();
    archive_entry_set_pathname(header, entry.path.c_str());
    archive_entry_set_filetype(header, entry.type);
    archive_entry_set_perm(header, entry.mode);
    archive_entry_set_mtime(header, 1'000'000'000, 0);
    if (entry.type == AE_IFLNK) {
      archive_entry_set_symlink(header, entry.content.c_str());
    } else if (entry.is_hardlink) {
      archive_entry_set_hardlink(header, entry.content.c_str());
    } else if (entry.type == AE_IFREG) {
      archive_entry_set_size(header, static_cast<la_int64_t>(entry.content.size()));
    }
    REQUIRE(archive_write_header(writer, header) == ARCHIVE_OK);
    if (entry.type == AE_IFREG && !entry.is_hardlink) {
      archive_write_data(writer, entry.content.data(), entry.content.size());
    }
    archive_entry_free(header);
  }
  archive_write_close(writer);
  archive_write_free(writer);
  return path;
}

TEST_CASE("a tree takes the name of its destination") {
  const testing::TempDir temp;
  const std::string tar = MakeTar(temp,
                                  {{"src", AE_IFDIR, "", 0755},
                                   {"src/bin/run", AE_IFREG, "#!/bin/sh\n", 0755},
                                   {"./src/data", AE_IFREG, std::string(200'000, 'd')},
                                   {"src/link", AE_IFLNK, "bin/run"},
                                   {"src/same", AE_IFREG, "src/data", 0644, true},
                                   {"src/empty", AE_IFREG, ""}});
  const std::string out = temp.Path("dest");
  const absl::Status status = Unpack(tar, out, std::nullopt);
  INFO(status);
  REQUIRE(status.ok());
  CHECK(base::ReadFile(out + "/data").value().size() == 200'000);
  CHECK(base::ReadFile(out + "/link").value() == "#!/bin/sh\n");
  CHECK(base::ReadFile(out + "/same").value().size() == 200'000);
  CHECK(base::ReadFile(out + "/empty").value().empty());
  struct stat info {};
  REQUIRE(stat((out + "/bin/run").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0755);
  CHECK(info.st_mtime == 1'000'000'000);
}

TEST_CASE("a single file takes the name of its destination") {
  const testing::TempDir temp;
  const std::string tar = MakeTar(temp, {{"a.txt", AE_IFREG, "x"}});
  REQUIRE(Unpack(tar, temp.Path("b.txt"), std::nullopt).ok());
  CHECK(base::ReadFile(temp.Path("b.txt")).value() == "x");
}

TEST_CASE("archives that reach out are refused and write nothing outside") {
  struct Row {
    const char* name;
    std::vector<Entry> entries;
  };
  const std::vector<Row> rows = {
      {"parent", {{"src/../../outside/f", AE_IFREG, "x"}}},
      {"absolute", {{"/tmp/outside-of-archive", AE_IFREG, "x"}}},
      {"link out", {{"src/l", AE_IFLNK, "../outside"}}},
      {"absolute link", {{"src/l", AE_IFLNK, "/etc"}}},
      {"sly link", {{"src/l", AE_IFLNK, "a/../../outside"}}},
      {"top link", {{"src", AE_IFLNK, "outside"}}},
      {"write through a link",
       {{"src/d", AE_IFDIR, ""}, {"src/l", AE_IFLNK, "d"}, {"src/l/f", AE_IFREG, "x"}}},
      {"hard link out", {{"src/h", AE_IFREG, "../outside/secret", 0644, true}}},
      {"hard link to an absolute path", {{"src/h", AE_IFREG, "/etc/passwd", 0644, true}}},
      {"device", {{"src/dev", AE_IFCHR, ""}}},
      {"fifo", {{"src/fifo", AE_IFIFO, ""}}},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    const testing::TempDir temp;
    REQUIRE(base::MakeDirs(temp.Path("outside")).ok());
    REQUIRE(base::WriteFileAtomic(temp.Path("outside/secret"), "s").ok());
    REQUIRE(base::MakeDirs(temp.Path("in")).ok());
    const absl::Status status =
        Unpack(MakeTar(temp, row.entries), temp.Path("in/dest"), std::nullopt);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK_FALSE(base::Exists(temp.Path("outside/f")));
    CHECK_FALSE(base::Exists("/tmp/outside-of-archive"));
    CHECK_FALSE(base::Exists(temp.Path("in/dest/d/f")));
  }
}

TEST_CASE("a link that was there before is not followed") {
  const testing::TempDir temp;
  REQUIRE(base::MakeDirs(temp.Path("outside")).ok());
  REQUIRE(symlink(temp.Path("outside").c_str(), temp.Path("dest").c_str()) == 0);
  const std::string tar = MakeTar(temp, {{"src/f", AE_IFREG, "x"}});
  CHECK_FALSE(Unpack(tar, temp.Path("dest"), std::nullopt).ok());
  CHECK_FALSE(base::Exists(temp.Path("outside/f")));
}

TEST_CASE("setuid bits are dropped") {
  const testing::TempDir temp;
  const std::string tar = MakeTar(temp, {{"f", AE_IFREG, "x", 06755}});
  REQUIRE(Unpack(tar, temp.Path("f"), std::nullopt).ok());
  struct stat info {};
  REQUIRE(stat(temp.Path("f").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0755);
}

TEST_CASE("what is no tar, and one that ends too early") {
  const testing::TempDir temp;
  REQUIRE(base::WriteFileAtomic(temp.Path("x"), "no tar at all").ok());
  CHECK(Unpack(temp.Path("x"), temp.Path("dest"), std::nullopt).code() ==
        absl::StatusCode::kInvalidArgument);
  const std::string tar = MakeTar(temp, {{"f", AE_IFREG, std::string(100'000, 'x')}});
  const std::string bytes = base::ReadFile(tar).value();
  REQUIRE(base::WriteFileAtomic(tar, bytes.substr(0, 50'000)).ok());
  CHECK_FALSE(Unpack(tar, temp.Path("dest"), std::nullopt).ok());
}

TEST_CASE("links inside and outside") {
  CHECK(LinkStaysInside("src/a/b", "../c"));
  CHECK(LinkStaysInside("src/a", "b/../c"));
  CHECK_FALSE(LinkStaysInside("src/a", ".."));
  CHECK_FALSE(LinkStaysInside("src/a", "../src/b"));
  CHECK_FALSE(LinkStaysInside("src/a", ""));
  CHECK_FALSE(LinkStaysInside("src", "x"));
}

}  // namespace
}  // namespace dstack::runner
