#include <atomic>
#include <thread>

#include <catch2/catch.hpp>

#include "fmt/format.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "tests/component/store/store_fixture.h"

namespace dstack::server {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;

std::string LineOf(std::uint64_t sequence) { return fmt::format("line {}\n", sequence); }

LogStore::Append Batch(const JobId& job,
                       std::uint64_t first,
                       std::uint64_t last,
                       common::v1::LogSource source = LOG_SOURCE_JOB) {
  LogStore::Append append;
  append.job_id = job;
  append.batch.set_source(source);
  for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
    auto* record = append.batch.add_records();
    record->set_sequence(sequence);
    record->set_time_unix_nano(1'000'000'000 * sequence);
    record->set_data(LineOf(sequence));
  }
  return append;
}

// All records by repeated reads of at most `max_bytes`; fails on a hole, a double or wrong bytes.
std::uint64_t ReadAll(StoreFixture& f, const JobId& job, std::size_t max_bytes) {
  std::uint64_t last = 0;
  for (;;) {
    const auto result =
        f.stores.logs.Read({.job_id = job, .after_sequence = last, .max_bytes = max_bytes});
    REQUIRE(result.ok());
    for (const auto& record : result->batch.records()) {
      REQUIRE(record.sequence() == ++last);
      REQUIRE(record.data() == LineOf(last));
    }
    if (result->is_at_end) return last;
    REQUIRE(result->batch.records_size() > 0);
  }
}

TEST_CASE("records are stored once, in order, however they are sent") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  const auto first = f.stores.logs.AppendAll({Batch(job, 1, 3), Batch(job, 2, 5)});
  REQUIRE(first.ok());
  CHECK(*first == std::vector<std::uint64_t>{5, 5});
  CHECK(*f.stores.logs.AppendAll({Batch(job, 1, 5)}) == std::vector<std::uint64_t>{5});
  CHECK(*f.stores.logs.AppendAll({Batch(job, 4, 8)}) == std::vector<std::uint64_t>{8});
  CHECK(ReadAll(f, job, 1 << 20) == 8);
  CHECK(ReadAll(f, job, 1) == 8);
  CHECK(ReadAll(f, job, 20) == 8);
  const auto positions = f.stores.logs.Positions(job);
  REQUIRE(positions->size() == 1);
  CHECK(positions->front().source == LOG_SOURCE_JOB);
  CHECK(positions->front().sequence == 8);
}

TEST_CASE("a hole, a record after the end and an unknown job are refused as a whole") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  const auto hole = f.stores.logs.AppendAll({Batch(job, 1, 2), Batch(job, 4, 5)});
  CHECK(hole.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::Metadata(hole.status())["job_id"] == job.str());
  CHECK(f.stores.logs.Positions(job)->empty());

  LogStore::Append end = Batch(job, 1, 2);
  end.is_end = true;
  REQUIRE(f.stores.logs.AppendAll({end}).ok());
  CHECK(f.stores.logs.AppendAll({end}).ok());
  const auto late = f.stores.logs.AppendAll({Batch(job, 3, 3)});
  CHECK(late.status().code() == absl::StatusCode::kFailedPrecondition);

  const auto unknown = f.stores.logs.AppendAll({Batch(JobId(f.ids.NewId()), 1, 1)});
  CHECK(base::Reason(unknown.status()) == "JOB_NOT_FOUND");
  CHECK(base::Reason(f.stores.logs.Read({.job_id = JobId("x")}).status()) == "JOB_NOT_FOUND");
}

TEST_CASE("a reader learns where the log stands and when it has ended") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  const auto nothing = f.stores.logs.Read({.job_id = job});
  CHECK(nothing->is_at_end);
  CHECK_FALSE(nothing->is_ended);

  REQUIRE(f.stores.logs.AppendAll({Batch(job, 1, 2)}).ok());
  const auto open = f.stores.logs.Read({.job_id = job, .after_sequence = 1});
  REQUIRE(open->batch.records_size() == 1);
  CHECK(open->is_at_end);
  CHECK_FALSE(open->is_ended);
  CHECK_FALSE(f.stores.logs.Read({.job_id = job, .max_bytes = 1})->is_at_end);

  LogStore::Append end = Batch(job, 3, 2);
  end.is_end = true;
  REQUIRE(f.stores.logs.AppendAll({end}).ok());
  CHECK(f.stores.logs.Read({.job_id = job})->is_ended);
  CHECK(f.stores.logs.Read({.job_id = job, .after_sequence = 2})->is_ended);
  CHECK_FALSE(f.stores.logs.Read({.job_id = job, .max_bytes = 1})->is_ended);
  CHECK_FALSE(f.stores.logs.Read({.job_id = job, .source = LOG_SOURCE_RUNNER})->is_ended);
}

TEST_CASE("a job that never had a host has an ended, empty log") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  REQUIRE(f.stores.runs.RequestStop(f.project.id, {"train"}, false, f.now()).ok());
  CHECK(f.stores.logs.Read({.job_id = job})->is_ended);
}

TEST_CASE("sources of a job are apart") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  REQUIRE(f.stores.logs.AppendAll({Batch(job, 1, 2, LOG_SOURCE_RUNNER), Batch(job, 1, 5)}).ok());
  const auto read = f.stores.logs.Read({.job_id = job, .source = LOG_SOURCE_RUNNER});
  CHECK(read->batch.source() == LOG_SOURCE_RUNNER);
  CHECK(read->batch.records_size() == 2);
  CHECK(f.stores.logs.Positions(job)->size() == 2);
}

TEST_CASE("a reader may begin at a time") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  REQUIRE(f.stores.logs.AppendAll({Batch(job, 1, 10)}).ok());
  const auto at = [](int seconds) { return TimePoint(std::chrono::seconds(seconds)); };
  const auto late = f.stores.logs.Read({.job_id = job, .since = at(8)});
  REQUIRE(late->batch.records_size() == 3);
  CHECK(late->batch.records(0).sequence() == 8);
  const auto future = f.stores.logs.Read({.job_id = job, .since = at(11)});
  CHECK(future->batch.records().empty());
  CHECK(future->is_at_end);
}

TEST_CASE("small appends share segments, large ones do not") {
  StoreFixture f;
  const JobId job = f.Submit("train").jobs[0].id;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    REQUIRE(f.stores.logs.AppendAll({Batch(job, i, i)}).ok());
  }
  CHECK(ReadAll(f, job, 1 << 20) == 100);
  CHECK(ReadAll(f, job, 10) == 100);
  LogStore::Append large;
  large.job_id = job;
  large.batch.set_source(LOG_SOURCE_JOB);
  for (std::uint64_t i = 101; i <= 200; ++i) {
    auto* record = large.batch.add_records();
    record->set_sequence(i);
    record->set_data(base::SecureRandomBytes(32 << 10));
  }
  REQUIRE(f.stores.logs.AppendAll({large}).ok());

  pqxx::connection connection(f.conninfo);
  pqxx::work tx(connection);
  const auto count = tx.exec("SELECT count(*), max(length(data)) FROM log_segments")[0];
  CHECK(count[0].as<int>() < 10);
  CHECK(count[1].as<int>() < (2 << 20));
  std::uint64_t last = 100;
  while (last < 200) {
    const auto read = f.stores.logs.Read({.job_id = job, .after_sequence = last});
    REQUIRE(read.ok());
    REQUIRE(read->batch.records_size() > 0);
    for (const auto& record : read->batch.records()) {
      REQUIRE(record.data() ==
              large.batch.records(static_cast<int>(record.sequence() - 101)).data());
      last = record.sequence();
    }
  }
}

TEST_CASE("two replicas that append at once store each record once") {
  StoreFixture f;
  const JobId a = f.Submit("a").jobs[0].id;
  const JobId b = f.Submit("b").jobs[0].id;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::uint64_t i = 1; i <= 20; ++i) {
          std::vector<LogStore::Append> appends = {Batch(a, 1, i), Batch(b, 1, i)};
          if (thread % 2 == 1) std::swap(appends[0], appends[1]);
          if (!f.stores.logs.AppendAll(appends).ok()) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  CHECK(ReadAll(f, a, 1 << 20) == 20);
  CHECK(ReadAll(f, b, 1 << 20) == 20);
}

}  // namespace
}  // namespace dstack::server
