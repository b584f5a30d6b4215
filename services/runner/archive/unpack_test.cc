#include "services/runner/archive/unpack.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <archive.h>
#include <archive_entry.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/testing/sanitizer.h"
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

// Writes entries to a file as they come.
class TarWriter {
 public:
  explicit TarWriter(const std::string& path) : writer_(archive_write_new()) {
    archive_write_set_format_pax_restricted(writer_);
    REQUIRE(archive_write_open_filename(writer_, path.c_str()) == ARCHIVE_OK);
  }
  ~TarWriter() {
    archive_write_close(writer_);
    archive_write_free(writer_);
  }

  void Add(const Entry& entry) {
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
    if (archive_write_header(writer_, header) != ARCHIVE_OK) FAIL(archive_error_string(writer_));
    if (entry.type == AE_IFREG && !entry.is_hardlink) {
      archive_write_data(writer_, entry.content.data(), entry.content.size());
    }
    archive_entry_free(header);
  }

 private:
  archive* writer_;
};

std::string MakeTar(const testing::TempDir& temp, const std::vector<Entry>& entries) {
  std::string path = temp.Path("a.tar");
  TarWriter writer(path);
  for (const Entry& entry : entries) writer.Add(entry);
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

// The most memory that this process ever had, KiB.
long PeakKib() {
  rusage usage{};
  REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_maxrss;
}

// Unpacks that many empty files in directories of a thousand: all are there, and memory stays.
void UnpackFiles(int count) {
  const testing::TempDir temp;
  const std::string tar = temp.Path("many.tar");
  {
    TarWriter writer(tar);
    for (int i = 0; i < count; ++i) {
      writer.Add({fmt::format("src/{}/file-{}", i / 1000, i), AE_IFREG, ""});
    }
  }
  const long before = PeakKib();
  const absl::Status status = Unpack(tar, temp.Path("dest"), std::nullopt);
  INFO(status);
  REQUIRE(status.ok());
  constexpr long kLimitKib = 8 * 1024;
  if (!testing::kHasAddressSanitizer) CHECK(PeakKib() - before < kLimitKib);
  long files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(temp.Path("dest"))) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  CHECK(files == count);
}

TEST_CASE("an archive of 50,000 files costs no memory") { UnpackFiles(50'000); }

TEST_CASE("an archive of a million files costs no memory", "[.][nightly]") {
  UnpackFiles(1'000'000);
}

TEST_CASE("a header that lies about sizes is refused") {
  const testing::TempDir temp;
  const std::string tar = MakeTar(temp, {{"f", AE_IFREG, "content"}});
  std::string bytes = base::ReadFile(tar).value();
  const auto with_size = [&](const std::string& octal) {
    std::string lying = bytes;
    // Size and checksum of a header: twelve bytes from 124 and eight from 148.
    lying.replace(124, 12, octal + std::string(12 - octal.size(), '\0'));
    lying.replace(148, 8, "        ");
    int sum = 0;
    for (int i = 0; i < 512; ++i) sum += static_cast<unsigned char>(lying[static_cast<size_t>(i)]);
    lying.replace(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    return lying;
  };
  SECTION("eight gigabytes that are not there") {
    REQUIRE(base::WriteFileAtomic(tar, with_size("77777777777")).ok());
    const absl::Status status = Unpack(tar, temp.Path("dest"), std::nullopt);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    struct stat info {};
    // What was there may be written, but no hole of that size.
    if (stat(temp.Path("dest").c_str(), &info) == 0) CHECK(info.st_size < 100'000);
  }
  SECTION("less than there is") {
    REQUIRE(base::WriteFileAtomic(tar, with_size("00000000003")).ok());
    REQUIRE(Unpack(tar, temp.Path("dest"), std::nullopt).ok());
    CHECK(base::ReadFile(temp.Path("dest")).value() == "con");
  }
}

TEST_CASE("a compressed archive is refused: nothing is larger than what arrived") {
  const testing::TempDir temp;
  const std::string tar = MakeTar(temp, {{"f", AE_IFREG, std::string(100'000, 'x')}});
  REQUIRE(process::RunChecked({"gzip", tar}, std::chrono::seconds(20)).ok());
  const absl::Status status = Unpack(tar + ".gz", temp.Path("dest"), std::nullopt);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK_FALSE(base::Exists(temp.Path("dest")));
}

TEST_CASE("deep paths and long names are unpacked or refused, never followed by a crash") {
  const testing::TempDir temp;
  std::string deep = "src";
  for (int i = 0; i < 400; ++i) deep += "/d";
  CHECK(Unpack(MakeTar(temp, {{deep, AE_IFREG, "x"}}), temp.Path("dest"), std::nullopt).ok());
  CHECK_FALSE(Unpack(MakeTar(temp, {{"src/" + std::string(300, 'n'), AE_IFREG, "x"}}),
                     temp.Path("dest2"),
                     std::nullopt)
                  .ok());
}

}  // namespace
}  // namespace dstack::runner
