#include <atomic>
#include <thread>

#include "api_fixture.h"

namespace dstack::server {
namespace {

using common::v1::LogBatch;

LogBatch Batch(std::uint64_t first, std::uint64_t last, std::size_t bytes) {
  LogBatch batch;
  batch.set_source(common::v1::LOG_SOURCE_JOB);
  for (std::uint64_t i = first; i <= last; ++i) {
    auto* record = batch.add_records();
    record->set_sequence(i);
    record->set_time_unix_nano(1'000'000'000ULL * i);
    record->set_data(std::string(bytes, static_cast<char>('a' + i % 26)));
  }
  return batch;
}

// A run that waits for ever, and the id of its job.
class LogFixture : public ApiFixture {
 public:
  LogFixture() {
    MustApplyFleet("pool", {"host-1"});
    job = MustApply(Task("work")).jobs(0).submissions(0).id();
  }

  // Makes records durable as the owner of a host does.
  void Append(std::uint64_t first,
              std::uint64_t last,
              bool is_end = false,
              std::size_t bytes = 10) {
    std::atomic<bool> is_done{false};
    LogBatch batch = Batch(first, last, bytes);
    plane->ingest().Append(
        {.job_id = JobId(job), .batch = batch, .is_end = is_end},
        [&](const absl::StatusOr<std::uint64_t>& result) { is_done = result.ok(); });
    testing::Await(10s, [&] { return is_done.load(); });
  }

  api::v1::StreamLogsRequest Request(bool follow) const {
    api::v1::StreamLogsRequest request;
    request.set_project_name("main");
    request.set_run_name("work");
    request.set_follow(follow);
    return request;
  }

  std::string job;
};

// Reads one stream to its end; checks that sequences have no hole and come once.
struct Reading {
  absl::Status status;
  std::uint64_t last = 0;
  std::size_t bytes = 0;
  bool is_end = false;
  bool is_ordered = true;
};

Reading ReadAll(LogFixture& api,
                const api::v1::StreamLogsRequest& request,
                std::atomic<std::uint64_t>* progress = nullptr) {
  Reading reading;
  reading.last = request.after_sequence();
  grpc::ClientContext context;
  api.Authorise(context);
  auto reader = api.logs->StreamLogs(&context, request);
  api::v1::StreamLogsResponse response;
  while (reader->Read(&response)) {
    for (const auto& record : response.batch().records()) {
      const bool is_next = record.sequence() == reading.last + 1 || request.has_since();
      reading.is_ordered = reading.is_ordered && is_next;
      reading.last = record.sequence();
      reading.bytes += record.data().size();
    }
    reading.is_end = response.is_end();
    if (progress != nullptr) *progress = reading.last;
  }
  reading.status = rpc::FromGrpc(reader->Finish());
  return reading;
}

TEST_CASE("stored logs are read from any point and end where they end") {
  LogFixture api;
  api.Append(1, 100);
  Reading all = ReadAll(api, api.Request(false));
  CHECK(all.status.ok());
  CHECK(all.last == 100);
  CHECK(all.is_ordered);
  CHECK_FALSE(all.is_end);

  auto request = api.Request(false);
  request.set_after_sequence(60);
  CHECK(ReadAll(api, request).bytes == 400);
  request.set_after_sequence(0);
  request.mutable_since()->set_seconds(91);
  CHECK(ReadAll(api, request).bytes == 100);

  api.Append(101, 101, true);
  all = ReadAll(api, api.Request(false));
  CHECK(all.last == 101);
  CHECK(all.is_end);
}

TEST_CASE("a follower gets every record once, in order, and the end") {
  LogFixture api;
  api.Append(1, 50);
  std::atomic<std::uint64_t> progress{0};
  Reading reading;
  std::thread follower([&] { reading = ReadAll(api, api.Request(true), &progress); });
  testing::AwaitEqual(
      10s, [&] { return progress.load(); }, std::uint64_t{50});
  for (std::uint64_t i = 51; i <= 150; ++i) api.Append(i, i);
  api.Append(151, 150, true);
  follower.join();
  CHECK(reading.status.ok());
  CHECK(reading.last == 150);
  CHECK(reading.is_ordered);
  CHECK(reading.is_end);
}

TEST_CASE("fifty followers and one that never reads do not disturb each other") {
  LogFixture api;
  grpc::ClientContext lazy_context;
  api.Authorise(lazy_context);
  auto lazy = api.logs->StreamLogs(&lazy_context, api.Request(true));
  std::vector<Reading> readings(50);
  std::vector<std::thread> followers;
  for (Reading& reading : readings) {
    followers.emplace_back([&api, &reading] { reading = ReadAll(api, api.Request(true)); });
  }
  testing::Await(10s, [&] { return api.plane->open_streams() == 51; });
  // More than any window of the transport: the lazy one blocks early.
  constexpr std::uint64_t kBatches = 100;
  for (std::uint64_t i = 0; i < kBatches; ++i) api.Append(i * 10 + 1, i * 10 + 10, false, 4000);
  api.Append(kBatches * 10 + 1, kBatches * 10, true);
  for (std::thread& follower : followers) follower.join();
  for (const Reading& reading : readings) {
    CHECK(reading.status.ok());
    CHECK(reading.last == kBatches * 10);
    CHECK(reading.is_ordered);
    CHECK(reading.is_end);
  }
  // It has missed nothing.
  api::v1::StreamLogsResponse response;
  std::uint64_t last = 0;
  while (lazy->Read(&response)) {
    for (const auto& record : response.batch().records()) CHECK(record.sequence() == ++last);
  }
  CHECK(last == kBatches * 10);
  testing::Await(10s, [&] { return api.plane->open_streams() == 0; });
}

TEST_CASE("the log of a job that never ran ends with the job") {
  LogFixture api;
  Reading reading;
  std::thread follower([&] { reading = ReadAll(api, api.Request(true)); });
  testing::Await(10s, [&] { return api.plane->open_streams() == 1; });
  REQUIRE(api.Stop("work").ok());
  follower.join();
  CHECK(reading.status.ok());
  CHECK(reading.is_end);
  CHECK(reading.last == 0);
}

TEST_CASE("unknown runs and jobs are told apart, and a reader that leaves frees its stream") {
  LogFixture api;
  auto request = api.Request(false);
  request.set_run_name("ghost");
  CHECK(base::Reason(ReadAll(api, request).status) == "RUN_NOT_FOUND");
  request = api.Request(false);
  request.set_job_num(3);
  CHECK(base::Reason(ReadAll(api, request).status) == "JOB_NOT_FOUND");
  request.set_job_submission_id("nonsense");
  CHECK(base::Reason(ReadAll(api, request).status) == "JOB_NOT_FOUND");
  request = api.Request(true);
  grpc::ClientContext context;
  api.Authorise(context);
  auto reader = api.logs->StreamLogs(&context, request);
  testing::Await(10s, [&] { return api.plane->open_streams() == 1; });
  context.TryCancel();
  testing::Await(10s, [&] { return api.plane->open_streams() == 0; });
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
}

TEST_CASE("a watch shows the run at once, each change after that, and ends with the run") {
  LogFixture api;
  grpc::ClientContext context;
  api.Authorise(context);
  api::v1::WatchRunRequest request;
  request.set_project_name("main");
  request.set_run_name("work");
  auto reader = api.runs->WatchRun(&context, request);
  api::v1::WatchRunResponse response;
  REQUIRE(reader->Read(&response));
  CHECK(response.run().status() == api::v1::RUN_STATUS_SUBMITTED);
  const std::uint64_t version = response.run().version();
  REQUIRE(api.Stop("work").ok());
  std::uint64_t last = version;
  while (reader->Read(&response)) {
    CHECK(response.run().version() > last);
    last = response.run().version();
  }
  CHECK(reader->Finish().ok());
  CHECK(response.run().status() == api::v1::RUN_STATUS_TERMINATED);
  CHECK(response.run().status_message() == "stopped");

  // Who knows the end already gets nothing but the end.
  grpc::ClientContext again;
  api.Authorise(again);
  request.set_after_version(last);
  auto late = api.runs->WatchRun(&again, request);
  CHECK_FALSE(late->Read(&response));
  CHECK(late->Finish().ok());

  grpc::ClientContext ghost_context;
  api.Authorise(ghost_context);
  request.set_run_name("ghost");
  auto ghost = api.runs->WatchRun(&ghost_context, request);
  CHECK_FALSE(ghost->Read(&response));
  CHECK(base::Reason(rpc::FromGrpc(ghost->Finish())) == "RUN_NOT_FOUND");
}

}  // namespace
}  // namespace dstack::server
