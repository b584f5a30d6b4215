#include "libs/spool/writer.h"

#include <csignal>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/spool/format.h"
#include "libs/spool/reader.h"
#include "libs/testing/temp_dir.h"

namespace dstack::spool {
namespace {

std::unique_ptr<Writer> OpenWriter(WriterOptions options) {
  auto writer = Writer::Open(std::move(options));
  INFO(writer.status());
  REQUIRE(writer.ok());
  return *std::move(writer);
}

std::vector<Record> ReadAll(const std::string& dir, std::uint64_t after = 0) {
  auto reader = Reader::Open(dir, after);
  REQUIRE(reader.ok());
  std::vector<Record> records;
  REQUIRE((*reader)->Read(1 << 30, &records).ok());
  return records;
}

TEST_CASE("appended records come back as they were") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.path() + "/s"});
  CHECK(writer->last_sequence() == 0);
  CHECK(*writer->Append("hello\n", 11) == Writer::Appended::kStored);
  CHECK(*writer->Append(std::string("\0\xff", 2), 12) == Writer::Appended::kStored);

  const auto records = ReadAll(temp.path() + "/s");
  REQUIRE(records.size() == 2);
  CHECK(records[0].sequence == 1);
  CHECK(records[0].time_unix_nano == 11);
  CHECK(records[0].data == "hello\n");
  CHECK(records[1].sequence == 2);
  CHECK(records[1].data == std::string("\0\xff", 2));
  CHECK(writer->last_sequence() == 2);
}

TEST_CASE("a record that is empty or too long is refused") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.path() + "/s"});
  CHECK(writer->Append("", 1).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(writer->Append(std::string(kMaxRecordBytes + 1, 'x'), 1).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(writer->last_sequence() == 0);
}

TEST_CASE("a new writer continues the sequence, and behind a torn record") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  OpenWriter({.dir = dir})->Append("one", 1).value();
  OpenWriter({.dir = dir})->Append("two", 2).value();
  const std::string segment = SegmentPath(dir, 1);
  const std::string whole = base::ReadFile(segment).value();
  for (std::size_t cut = 1; cut < kHeaderBytes + 3; ++cut) {
    REQUIRE(base::WriteFileAtomic(segment, whole.substr(0, whole.size() - cut)).ok());
    auto writer = OpenWriter({.dir = dir});
    CHECK(writer->last_sequence() == 1);
    writer->Append("TWO", 3).value();
    const auto records = ReadAll(dir);
    REQUIRE(records.size() == 2);
    CHECK(records[1].data == "TWO");
  }
}

TEST_CASE("an empty segment file is a spool without records") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  OpenWriter({.dir = dir});
  auto writer = OpenWriter({.dir = dir});
  CHECK(writer->last_sequence() == 0);
  CHECK(*writer->Append("x", 1) == Writer::Appended::kStored);
  CHECK(ReadAll(dir).size() == 1);
}

TEST_CASE("throttle: a full spool takes nothing until it is trimmed") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = OpenWriter({.dir = dir, .max_bytes = 256 * 1024});
  const std::string piece(16 * 1024, 'a');
  std::uint64_t stored = 0;
  while (*writer->Append(piece, 1) == Writer::Appended::kStored) ++stored;
  CHECK(stored >= 12);
  CHECK_FALSE(writer->HasRoom());
  CHECK(writer->stored_bytes() <= 256 * 1024);
  CHECK(writer->last_sequence() == stored);

  REQUIRE(writer->Trim(stored).ok());
  CHECK(writer->HasRoom());
  CHECK(*writer->Append("b", 2) == Writer::Appended::kStored);
  CHECK(ReadAll(dir, stored).front().data == "b");
}

TEST_CASE("throttle: the last bytes of a process go beyond the limit") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.path() + "/s", .max_bytes = 64 * 1024});
  while (*writer->Append(std::string(4096, 'a'), 1) == Writer::Appended::kStored) {
  }
  CHECK(*writer->Append("last", 2, Writer::Room::kBeyondLimit) == Writer::Appended::kStored);
}

TEST_CASE("drop: one marker says how much is missing") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = OpenWriter({.dir = dir, .max_bytes = 64 * 1024, .overflow = OverflowPolicy::kDrop});
  std::uint64_t stored = 0;
  while (*writer->Append(std::string(4096, 'a'), 1) == Writer::Appended::kStored) ++stored;
  CHECK(*writer->Append("four", 1) == Writer::Appended::kDropped);
  REQUIRE(writer->Trim(stored).ok());
  CHECK(*writer->Append("after", 2) == Writer::Appended::kStored);

  const auto records = ReadAll(dir, stored);
  REQUIRE(records.size() == 2);
  CHECK(records[0].dropped_bytes == 4096 + 4);
  CHECK(records[0].data.empty());
  CHECK(records[1].data == "after");
  CHECK(records[1].sequence == stored + 2);
}

TEST_CASE("drop: the marker at the end is written on demand, once") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = OpenWriter({.dir = dir, .max_bytes = 64 * 1024, .overflow = OverflowPolicy::kDrop});
  while (*writer->Append(std::string(4096, 'a'), 1) == Writer::Appended::kStored) {
  }
  REQUIRE(writer->WriteGap(5).ok());
  REQUIRE(writer->WriteGap(6).ok());
  const auto records = ReadAll(dir);
  CHECK(records.back().dropped_bytes == 4096);
  CHECK(records.back().time_unix_nano == 5);
}

TEST_CASE("trim keeps what is not acknowledged and the next sequence") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  const WriterOptions options{.dir = dir, .max_bytes = 1 << 20, .segment_bytes = 8 * 1024};
  {
    auto writer = OpenWriter(options);
    for (int i = 0; i < 20; ++i) writer->Append(std::string(4096, 'a'), 1).value();
    REQUIRE(writer->Trim(7).ok());
    CHECK(OldestSequence(dir).value() == 7);
    REQUIRE(writer->Trim(20).ok());
  }
  CHECK(OpenWriter(options)->last_sequence() == 20);
}

TEST_CASE("a writer starts behind what readers have seen") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  OpenWriter({.dir = dir})->Append("one", 1).value();
  auto writer = OpenWriter({.dir = dir, .after_sequence = 9});
  writer->Append("ten", 2).value();
  CHECK(writer->last_sequence() == 10);
  const auto records = ReadAll(dir, 9);
  REQUIRE(records.size() == 1);
  CHECK(records[0].data == "ten");
}

// Makes every file end at `bytes` for this process, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_CASE("a limit for files below the size of a segment makes segments smaller") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.Path("s")});
  const FileSizeLimit limit(8000);
  for (std::uint64_t i = 0; i < 10; ++i) {
    CHECK(*writer->Append(std::string(3000, 'x'), i) == Writer::Appended::kStored);
  }
  CHECK(ReadAll(temp.Path("s")).size() == 10);
}

TEST_CASE("a disk without space is a full spool, and what is given up leaves a marker") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.Path("s")});
  {
    const FileSizeLimit limit(2000);
    CHECK(*writer->Append("fits", 1) == Writer::Appended::kStored);
    CHECK_FALSE(writer->is_disk_full());
    CHECK(*writer->Append(std::string(3000, 'x'), 2) == Writer::Appended::kFull);
    CHECK(writer->is_disk_full());
    writer->Drop(3000);
  }
  CHECK(*writer->Append("again", 3) == Writer::Appended::kStored);
  CHECK_FALSE(writer->is_disk_full());
  const auto records = ReadAll(temp.Path("s"));
  REQUIRE(records.size() == 3);
  CHECK(records[0].data == "fits");
  CHECK(records[1].dropped_bytes == 3000);
  CHECK(records[2].data == "again");
}

TEST_CASE("times never decrease") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.Path("s")});
  for (const std::uint64_t time : {5U, 9U, 3U, 10U}) REQUIRE(writer->Append("x", time).ok());
  const auto records = ReadAll(temp.Path("s"));
  CHECK(records[2].time_unix_nano == 9);
  CHECK(records[3].time_unix_nano == 10);
}

TEST_CASE("the reserve is given back once and is no segment") {
  testing::TempDir temp;
  auto writer = OpenWriter({.dir = temp.Path("s")});
  CHECK(base::Exists(temp.Path("s/reserve")));
  CHECK(ListSegments(temp.Path("s"))->size() == 1);
  writer->ReleaseReserve();
  writer->ReleaseReserve();
  CHECK_FALSE(base::Exists(temp.Path("s/reserve")));
}

}  // namespace
}  // namespace dstack::spool
