// A spool whose newest segment holds anything: reading ends, sequences have no holes, and a writer
// goes on behind what can be read.
#include <cstdlib>
#include <string>
#include <vector>

#include <unistd.h>

#include "libs/base/file.h"
#include "libs/spool/format.h"
#include "libs/spool/reader.h"
#include "libs/spool/writer.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace dstack::spool;

// One directory for all inputs of the process.
const std::string& Dir() {
  static const std::string dir = [] {
    std::string pattern = "/tmp/dstack-fuzz-spool-XXXXXX";
    FUZZ_CHECK(mkdtemp(pattern.data()) != nullptr);
    static const std::string made = pattern;
    std::atexit([] { dstack::base::RemoveAll(made).IgnoreError(); });
    return pattern;
  }();
  return dir;
}

std::vector<Record> ReadAll() {
  auto reader = Reader::Open(Dir(), 0);
  FUZZ_CHECK(reader.ok());
  std::vector<Record> records;
  FUZZ_CHECK((*reader)->Read(1 << 30, &records).ok());
  return records;
}

void Clear() {
  const auto firsts = ListSegments(Dir());
  FUZZ_CHECK(firsts.ok());
  for (const std::uint64_t first : *firsts) unlink(SegmentPath(Dir(), first).c_str());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  Clear();
  FUZZ_CHECK(
      dstack::base::WriteFileAtomic(SegmentPath(Dir(), 1), dstack::fuzz::Text(data, size)).ok());
  const std::vector<Record> before = ReadAll();
  for (const Record& record : before) FUZZ_CHECK(record.data.size() <= kMaxRecordBytes);
  auto writer = Writer::Open({.dir = Dir()});
  FUZZ_CHECK(writer.ok());
  FUZZ_CHECK((*writer)->Append("appended", 1).ok());
  const std::vector<Record> after = ReadAll();
  FUZZ_CHECK(!after.empty() && after.back().data == "appended");
  FUZZ_CHECK(after.back().sequence == (*writer)->last_sequence());
  return 0;
}
