// Throughput of the spool alone: one writer, one reader that follows it. One line per figure.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "libs/spool/reader.h"
#include "libs/spool/writer.h"
#include "libs/testing/temp_dir.h"

namespace dstack::spool {
namespace {

void Measure(const char* name, std::size_t record_bytes, std::size_t records) {
  testing::TempDir temp;
  const std::string dir = temp.Path("s");
  auto writer = Writer::Open({.dir = dir, .max_bytes = 8ULL << 30}).value();
  auto reader = Reader::Open(dir, 0).value();
  const std::string data(record_bytes, 'x');
  std::vector<Record> read;
  std::size_t count = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < records; ++i) {
    writer->Append(data, i).value();
    if (i % 64 != 63 && i + 1 != records) continue;
    read.clear();
    static_cast<void>(reader->Read(64 << 20, &read));
    count += read.size();
    static_cast<void>(writer->Trim(reader->next_sequence() - 1));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto done = static_cast<double>(count);
  std::printf("spool_%s_throughput %.1f MB/s\n",
              name,
              done * static_cast<double>(record_bytes) / seconds / 1e6);
  std::printf("spool_%s_records %.0f 1/s\n", name, done / seconds);
}

}  // namespace
}  // namespace dstack::spool

int main() {
  dstack::spool::Measure("line", 80, 500'000);
  dstack::spool::Measure("read", 4096, 200'000);
  dstack::spool::Measure("full", dstack::spool::kMaxRecordBytes, 30'000);
}
