#include "services/server/logs/log_ingest.h"

#include <atomic>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/testing/await.h"
#include "tests/contract/fakes/memory_stores.h"

namespace dstack::server {
namespace {

using namespace std::chrono_literals;

LogStore::Append Record(const std::string& job, std::uint64_t sequence, const std::string& text) {
  LogStore::Append append{JobId(job), {}, false};
  append.batch.set_source(common::v1::LOG_SOURCE_JOB);
  auto* record = append.batch.add_records();
  record->set_sequence(sequence);
  record->set_data(text);
  return append;
}

TEST_CASE("what arrives during a commit is stored together, in order") {
  fakes::MemoryLogs logs;
  std::atomic<int> observed = 0;
  LogIngest ingest(logs, [&](const LogStore::Append&) { ++observed; }, {.writers = 2});
  std::atomic<int> done = 0;
  logs.FailAll(base::Unavailable("away"));
  std::string expected;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    expected += std::to_string(i);
    ingest.Append(Record("job", i, std::to_string(i)),
                  [&, i](const absl::StatusOr<std::uint64_t>& sequence) {
                    if (sequence.ok() && *sequence >= i) ++done;
                  });
  }
  CHECK(ingest.pending_bytes() > 0);
  logs.FailAll(absl::OkStatus());
  testing::AwaitEqual(
      5s, [&] { return done.load(); }, 200);
  CHECK(observed == 200);
  CHECK(logs.TextOf(JobId("job")) == expected);
  CHECK(logs.commits() < 10);
  CHECK(ingest.pending_bytes() == 0);
}

TEST_CASE("a hole fails alone") {
  fakes::MemoryLogs logs;
  LogIngest ingest(logs, nullptr, {.writers = 1});
  logs.FailAll(base::Unavailable("away"));
  std::atomic<int> good = 0;
  std::atomic<int> bad = 0;
  const auto count = [&](const absl::StatusOr<std::uint64_t>& sequence) {
    ++(sequence.ok() ? good : bad);
  };
  ingest.Append(Record("a", 1, "x"), count);
  ingest.Append(Record("b", 7, "x"), count);
  ingest.Append(Record("c", 1, "x"), count);
  logs.FailAll(absl::OkStatus());
  testing::Await(5s, [&] { return good == 2 && bad == 1; });
}

TEST_CASE("while the database is away there is no room, and a stop ends the wait") {
  fakes::MemoryLogs logs;
  logs.FailAll(base::Unavailable("away"));
  std::atomic<int> cancelled = 0;
  {
    LogIngest ingest(logs, nullptr, {.writers = 1, .pending_bytes = 1000});
    CHECK(ingest.HasRoom());
    for (std::uint64_t i = 1; i <= 2; ++i) {
      ingest.Append(Record("a", i, std::string(2000, 'x')),
                    [&](const absl::StatusOr<std::uint64_t>& sequence) {
                      cancelled += absl::IsCancelled(sequence.status()) ? 1 : 0;
                    });
    }
    CHECK_FALSE(ingest.HasRoom());
  }
  CHECK(cancelled == 2);
}

}  // namespace
}  // namespace dstack::server
