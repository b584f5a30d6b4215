#include "libs/spool/reader.h"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fcntl.h>

#include "libs/base/file.h"
#include "libs/spool/format.h"
#include "libs/spool/writer.h"
#include "libs/testing/temp_dir.h"

namespace dstack::spool {
namespace {

std::unique_ptr<Reader> OpenReader(const std::string& dir, std::uint64_t after = 0) {
  auto reader = Reader::Open(dir, after);
  INFO(reader.status());
  REQUIRE(reader.ok());
  return *std::move(reader);
}

std::vector<Record> ReadSome(Reader& reader, std::size_t max_bytes = 1 << 30) {
  std::vector<Record> records;
  REQUIRE(reader.Read(max_bytes, &records).ok());
  return records;
}

TEST_CASE("a reader waits for a spool that is not there yet") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto reader = OpenReader(dir);
  CHECK(ReadSome(*reader).empty());
  auto writer = Writer::Open({.dir = dir}).value();
  CHECK(ReadSome(*reader).empty());
  writer->Append("a", 1).value();
  CHECK(ReadSome(*reader).size() == 1);
  CHECK(ReadSome(*reader).empty());
  writer->Append("b", 1).value();
  CHECK(ReadSome(*reader).front().data == "b");
}

TEST_CASE("reading resumes at any record, over segments that come and go") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = Writer::Open({.dir = dir, .segment_bytes = 2048}).value();
  auto follower = OpenReader(dir);
  std::uint64_t seen = 0;
  for (int i = 1; i <= 200; ++i) {
    writer->Append(std::to_string(i) + std::string(100, '.'), 1).value();
    for (const Record& record : ReadSome(*follower)) CHECK(record.sequence == ++seen);
    REQUIRE(writer->Trim(seen > 50 ? seen - 50 : 0).ok());
  }
  CHECK(seen == 200);
  auto late = OpenReader(dir, 190);
  CHECK(ReadSome(*late).front().data.starts_with("191."));
}

TEST_CASE("a read gives about as much as asked for") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = Writer::Open({.dir = dir}).value();
  for (int i = 0; i < 10; ++i) writer->Append(std::string(1000, 'x'), 1).value();
  auto reader = OpenReader(dir);
  CHECK(ReadSome(*reader, 2500).size() == 3);
  CHECK(reader->next_sequence() == 4);
  CHECK(ReadSome(*reader, 1 << 20).size() == 7);
}

TEST_CASE("asking for trimmed records is out of range") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = Writer::Open({.dir = dir, .segment_bytes = 1024}).value();
  for (int i = 0; i < 10; ++i) writer->Append(std::string(1000, 'x'), 1).value();
  REQUIRE(writer->Trim(5).ok());
  CHECK(Reader::Open(dir, 0).status().code() == absl::StatusCode::kOutOfRange);
  CHECK(ReadSome(*OpenReader(dir, OldestSequence(dir).value() - 1)).size() == 5);
}

TEST_CASE("half a record is invisible until it is whole") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  { Writer::Open({.dir = dir}).value()->Append("one", 1).value(); }
  const std::string segment = SegmentPath(dir, 1);
  const std::string first = base::ReadFile(segment).value();
  const RecordView next{.sequence = 2, .time_unix_nano = 2, .data = "two"};
  const auto header = EncodeHeader(next);
  const std::string second = std::string(header.data(), header.size()) + "two";
  auto reader = OpenReader(dir);
  CHECK(ReadSome(*reader).size() == 1);
  for (std::size_t cut = 1; cut <= second.size(); ++cut) {
    // Same file, as the real writer does: WriteFileAtomic would put another one in its place.
    base::UniqueFd file(open(segment.c_str(), O_WRONLY | O_APPEND));
    REQUIRE(base::WriteAll(file.get(), second.substr(cut - 1, 1)).ok());
    CHECK(ReadSome(*reader).size() == (cut == second.size() ? 1 : 0));
  }
  CHECK(first.size() == kHeaderBytes + 3);
}

TEST_CASE("damaged records in an old segment become markers") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  auto writer = Writer::Open({.dir = dir, .segment_bytes = 1024}).value();
  for (int i = 0; i < 6; ++i) writer->Append(std::string(400, 'x'), 1).value();
  std::string bytes = base::ReadFile(SegmentPath(dir, 1)).value();
  bytes[kHeaderBytes + 400 + kHeaderBytes + 7] = '!';
  REQUIRE(base::WriteFileAtomic(SegmentPath(dir, 1), bytes).ok());

  const auto records = ReadSome(*OpenReader(dir));
  REQUIRE(records.size() == 6);
  for (std::size_t i = 0; i < records.size(); ++i) CHECK(records[i].sequence == i + 1);
  CHECK(records[0].data.size() == 400);
  CHECK(records[1].dropped_bytes > 400);
  CHECK(records[2].dropped_bytes == 1);
  CHECK(records[3].data.size() == 400);
}

TEST_CASE("the newest records and the last sequence") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  CHECK(LastSequence(dir).value() == 0);
  CHECK(ReadNewest(dir, 100).value().empty());
  auto writer = Writer::Open({.dir = dir, .segment_bytes = 1024}).value();
  CHECK(LastSequence(dir).value() == 0);
  for (int i = 0; i < 30; ++i) writer->Append(std::string(100, 'x'), 1).value();
  CHECK(LastSequence(dir).value() == 30);
  const auto records = ReadNewest(dir, 350).value();
  REQUIRE(records.size() == 3);
  CHECK(records.front().sequence == 28);
}

TEST_CASE("random sizes: bytes read equal bytes written") {
  testing::TempDir temp;
  const std::string dir = temp.path() + "/s";
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  auto writer = Writer::Open({.dir = dir, .segment_bytes = 300'000}).value();
  auto reader = OpenReader(dir);
  std::string written;
  std::string read;
  for (int i = 0; i < 500; ++i) {
    const std::string data(1 + random() % kMaxRecordBytes, static_cast<char>(random()));
    writer->Append(data, 1).value();
    written += data;
    if (random() % 3 == 0) {
      for (const Record& record : ReadSome(*reader, 1 + random() % 100'000)) read += record.data;
    }
  }
  for (const Record& record : ReadSome(*reader)) read += record.data;
  CHECK((read == written));
}

}  // namespace
}  // namespace dstack::spool
