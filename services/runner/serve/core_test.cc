#include "services/runner/serve/core.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/spool/writer.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;

class FakeSession final : public Session {
 public:
  void Send(v1::SessionResponse response) override { sent.push_back(std::move(response)); }
  std::size_t queued_bytes() const override { return queued; }
  void ReadNext() override { ++reads; }
  void Finish(const absl::Status& status) override { finished = status; }

  std::vector<v1::SessionResponse> sent;
  std::size_t queued = 0;
  int reads = 0;
  std::optional<absl::Status> finished;
};

class FakeSupervisor final : public SupervisorPort {
 public:
  void Tell(const control::ToSupervisor& message) override { told.push_back(message); }
  std::vector<control::ToSupervisor> told;
};

struct Fixture {
  Fixture()
      : dir(temp.path()),
        core(loop, dir, supervisor, {.initial_dir = "/"}, [this] { is_ended = true; }) {
    REQUIRE(base::MakeDirs(dir.Spools()).ok());
    REQUIRE(core.Load().ok());
    writer = spool::Writer::Open({.dir = dir.Spool(LOG_SOURCE_JOB)}).value();
  }

  std::shared_ptr<FakeSession> Connect(std::uint64_t epoch = 1, std::uint64_t position = 0) {
    auto session = std::make_shared<FakeSession>();
    v1::SessionRequest request;
    request.mutable_hello()->set_epoch(epoch);
    request.mutable_hello()->set_protocol_version(1);
    if (position > 0) {
      request.mutable_hello()->add_log_positions()->set_source(LOG_SOURCE_JOB);
      request.mutable_hello()->mutable_log_positions(0)->set_sequence(position);
    }
    core.OnRequest(session, request);
    return session;
  }
  void SetState(v1::JobState state) {
    v1::JobStatus status;
    status.set_state(state);
    status.set_revision(++revision);
    core.OnStatus(status);
  }

  testing::TempDir temp;
  EventLoop loop;
  TaskDir dir;
  FakeSupervisor supervisor;
  bool is_ended = false;
  std::uint64_t revision = 1;
  ServeCore core;
  std::unique_ptr<spool::Writer> writer;
};

TEST_CASE("hello, records, and the end after the last record") {
  Fixture f;
  const auto session = f.Connect();
  REQUIRE(session->sent.size() == 1);
  CHECK(session->sent[0].has_hello());
  CHECK(session->sent[0].sequence() == 1);
  f.writer->Append("one", 1).value();
  f.core.OnAppended();
  REQUIRE(session->sent.size() == 2);
  CHECK(session->sent[1].log_batch().records(0).data() == "one");
  f.writer->Append("two", 2).value();
  f.SetState(v1::JOB_STATE_FINISHED);
  REQUIRE(session->sent.size() == 5);
  CHECK(session->sent[2].job_status().state() == v1::JOB_STATE_FINISHED);
  CHECK(session->sent[3].log_batch().records(0).data() == "two");
  CHECK(session->sent[4].has_end_of_logs());
  CHECK_FALSE(f.is_ended);

  v1::SessionRequest ack;
  ack.mutable_ack_end();
  f.core.OnRequest(session, ack);
  CHECK(f.is_ended);
  CHECK(session->finished->ok());
  CHECK(base::Exists(f.dir.EndAcked()));
}

TEST_CASE("the first record goes at once, those that follow it closely go together") {
  Fixture f;
  const auto session = f.Connect();
  constexpr int kRecords = 1000;
  const auto start = std::chrono::steady_clock::now();
  f.loop.After(std::chrono::milliseconds(0), [&] {
    for (int i = 0; i < kRecords; ++i) {
      f.writer->Append("line", 1).value();
      f.core.OnAppended();
      if (i == 0) CHECK(session->sent.size() == 2);
    }
    f.loop.After(std::chrono::milliseconds(6), [&] { f.loop.Stop(); });
  });
  f.loop.Run();
  const auto intervals = (std::chrono::steady_clock::now() - start) / std::chrono::milliseconds(5);
  // Of a slow machine as well: the hello, the first record, and no more than one batch an interval.
  CHECK(session->sent.size() <= 2 + static_cast<std::size_t>(intervals));
  CHECK(session->sent.back().log_batch().records().rbegin()->sequence() == kRecords);
}

TEST_CASE("a full queue stops the logs and holds the end back") {
  Fixture f;
  f.writer->Append("one", 1).value();
  const auto session = std::make_shared<FakeSession>();
  session->queued = 64 << 20;
  v1::SessionRequest request;
  request.mutable_hello()->set_epoch(1);
  request.mutable_hello()->set_protocol_version(1);
  f.core.OnRequest(session, request);
  f.SetState(v1::JOB_STATE_FINISHED);
  CHECK(session->sent.size() == 2);  // hello and status
  session->queued = 0;
  f.core.OnWritable(session);
  REQUIRE(session->sent.size() == 4);
  CHECK(session->sent[2].has_log_batch());
  CHECK(session->sent[3].has_end_of_logs());
}

TEST_CASE("what is not acknowledged is bounded") {
  Fixture f;
  for (int i = 0; i < 1000; ++i) f.writer->Append(std::string(32 * 1024, 'x'), 1).value();
  const auto session = f.Connect();
  std::size_t bytes = 0;
  std::uint64_t last = 0;
  for (const auto& response : session->sent) {
    for (const auto& record : response.log_batch().records()) {
      bytes += record.data().size();
      last = record.sequence();
    }
  }
  CHECK(bytes >= 8 << 20);
  CHECK(bytes < 9 << 20);
  const std::size_t count = session->sent.size();
  v1::SessionRequest ack;
  ack.mutable_ack_logs()->mutable_position()->set_source(LOG_SOURCE_JOB);
  ack.mutable_ack_logs()->mutable_position()->set_sequence(last);
  f.core.OnRequest(session, ack);
  CHECK(session->sent.size() > count);
  CHECK(f.supervisor.told.back().acked().sequence() == last);
}

TEST_CASE("a stale epoch is refused, a newer session replaces the older one") {
  Fixture f;
  const auto first = f.Connect(3);
  const auto stale = f.Connect(2);
  CHECK(base::Reason(*stale->finished) == "STALE_EPOCH");
  CHECK_FALSE(first->finished.has_value());
  const auto second = f.Connect(3);
  CHECK(base::Reason(*first->finished) == "LEASE_LOST");
  CHECK(base::ReadFile(f.dir.Epoch()).value() == "3");
  // The old session's late messages change nothing.
  v1::SessionRequest stop;
  stop.mutable_stop_job();
  const std::size_t told = f.supervisor.told.size();
  f.core.OnRequest(first, stop);
  CHECK(f.supervisor.told.size() == told);
  CHECK_FALSE(second->finished.has_value());
}

TEST_CASE("a position in the hello is an acknowledgement and a place to resume") {
  Fixture f;
  for (const char* text : {"one", "two", "three"}) f.writer->Append(text, 1).value();
  const auto session = f.Connect(1, 2);
  REQUIRE(session->sent.size() == 2);
  CHECK(session->sent[1].log_batch().records(0).sequence() == 3);
  CHECK(f.supervisor.told.front().acked().sequence() == 2);
}

bool HasOpenFileBelow(const std::string& dir) {
  for (const auto& link : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the iterator's own
    const auto path = std::filesystem::read_symlink(link.path(), gone);
    if (!gone && path.native().starts_with(dir)) return true;
  }
  return false;
}

// A segment that is deleted keeps its space as long as somebody reads it.
TEST_CASE("a session that ended holds no segment open") {
  Fixture f;
  f.writer->Append("one", 1).value();
  f.writer.reset();
  const auto session = f.Connect();
  CHECK(HasOpenFileBelow(f.dir.Spools()));
  f.core.OnClosed(session);
  CHECK_FALSE(HasOpenFileBelow(f.dir.Spools()));
}

TEST_CASE("an older protocol is refused") {
  Fixture f;
  const auto session = std::make_shared<FakeSession>();
  v1::SessionRequest request;
  request.mutable_hello()->set_epoch(1);
  f.core.OnRequest(session, request);
  CHECK(base::Reason(*session->finished) == "VERSION_MISMATCH");
}

}  // namespace
}  // namespace dstack::runner
