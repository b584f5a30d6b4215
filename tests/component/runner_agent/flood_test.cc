// Logs that are meant to break something: every case ends with the bytes that were written, or with
// a gap of the stated length, and within a bound of memory.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/testing/await.h"
#include "libs/testing/small_disk.h"
#include "tests/component/runner_agent/fixture.h"
#include "tests/component/runner_agent/slow_relay.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LOG_SOURCE_RUNNER;
using namespace std::chrono_literals;

std::string Digest(const std::string& bytes) { return base::Sha256Hex(bytes); }

// What the script writes when it is run by hand.
std::string OutputOf(const std::string& script) {
  process::Options options;
  options.output_limit_bytes = 1 << 30;
  auto result = process::Run({"/bin/sh", "-c", script}, 300s, options);
  INFO(result.status());
  REQUIRE(result.ok());
  return std::move(result->stdout_text);
}

void CheckBytes(const std::string& script) {
  Fixture f;
  f.store.keeps_text = false;
  f.Run(MakeShellJob(script));
  f.client->SetPatience(300s);
  CHECK(f.Finish().exit_status() == 0);
  const std::string expected = OutputOf(script);
  CHECK(f.store.bytes[LOG_SOURCE_JOB] == expected.size());
  CHECK(f.store.Digest(LOG_SOURCE_JOB) == Digest(expected));
  CHECK(f.store.dropped_bytes == 0);
  f.CheckMemory();
}

std::string Endless(const std::string& bytes) {
  return "head -c " + bytes + " /dev/zero | tr '\\0' 'x'";
}

TEST_CASE("one line of 64 MB arrives whole, in marked pieces") {
  const std::string script = Endless("64000000");
  Fixture f;
  f.store.keeps_text = false;
  f.Run(MakeShellJob(script));
  f.client->SetPatience(120s);
  f.Finish();
  CHECK(f.store.bytes[LOG_SOURCE_JOB] == 64'000'000);
  CHECK(f.store.Digest(LOG_SOURCE_JOB) == Digest(std::string(64'000'000, 'x')));
  CHECK(f.store.split_lines > 0);
  f.CheckMemory();
}

TEST_CASE("one line of 1 GB arrives whole", "[.][nightly]") {
  Fixture f;
  f.store.keeps_text = false;
  f.Run(MakeShellJob(Endless("1000000000")));
  f.client->SetPatience(600s);
  f.Finish();
  CHECK(f.store.bytes[LOG_SOURCE_JOB] == 1'000'000'000);
  CHECK(f.store.dropped_bytes == 0);
  f.CheckMemory();
}

TEST_CASE("a million short lines arrive whole") { CheckBytes("seq 1 1000000"); }

TEST_CASE("binary output arrives byte for byte") {
  // The same bytes at each run: a cipher of zeros.
  CheckBytes(
      "head -c 8000000 /dev/zero | openssl enc -aes-128-ctr -nosalt -pass pass:x 2>/dev/null; "
      "printf '\\000\\377\\376\\200\\r\\n\\004\\032\\033c'");
}

TEST_CASE("floods of escapes and progress bars arrive byte for byte") {
  CheckBytes(
      "awk 'BEGIN { for (i = 0; i < 200000; ++i) printf \"\\033[2J\\033[1;31m\\033[%dA%d%%\\r\", "
      "i % 50, i % 100 }'; printf 'done\\n'");
}

TEST_CASE("two streams and many writers of one terminal lose nothing") {
  Fixture f;
  // Lines of one write are never mixed by the terminal below its buffer's size.
  f.Run(MakeShellJob(
      "for w in a b c d; do (i=0; while [ $i -lt 2000 ]; do echo $w $i; echo $w $i >&2; "
      "i=$((i+1)); done) & done; wait"));
  f.Finish();
  // Each line as often as it was written, and each writer's own lines in their order.
  std::map<char, std::vector<int>> lines;
  std::istringstream text(f.store.text[LOG_SOURCE_JOB]);
  char writer = 0;
  for (int number = 0; text >> writer >> number;) lines[writer].push_back(number);
  CHECK(text.eof());
  CHECK(lines.size() == 4);
  for (const auto& [name, numbers] : lines) {
    CHECK(numbers.size() == 2 * 2000);
    CHECK(std::is_sorted(numbers.begin(), numbers.end()));
    CHECK(std::adjacent_find(numbers.begin(), numbers.end(), [](int a, int b) {
            return b > a + 1;
          }) == numbers.end());
  }
}

TEST_CASE("a reader that is away for seconds finds everything") {
  Fixture f;
  f.Run(MakeShellJob("seq 1 400000; echo end"));
  f.client->AwaitText(LOG_SOURCE_JOB, "100\n");
  f.client.reset();
  testing::Await(60s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.Finish();
  const std::string& text = f.store.text[LOG_SOURCE_JOB];
  CHECK(std::count(text.begin(), text.end(), '\n') == 400'001);
  CHECK(text.ends_with("400000\nend\n"));
  f.CheckMemory();
}

TEST_CASE("W10 a reader that hardly reads costs no memory and slows nothing but itself") {
  Fixture f;
  f.runner.Start();
  f.client.emplace(f.runner.Target(),
                   f.runner.token(),
                   f.store,
                   SessionClient::Settings{.acknowledges = true, .reads_slowly = true});
  f.client->Submit(MakeShellJob(Endless("40000000")));
  f.client->StartJob();
  // The command ends although its output was hardly read: the spool takes it.
  testing::Await(60s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  CHECK(f.client->Bytes(LOG_SOURCE_JOB) < 40'000'000);
  f.CheckMemory();
  f.client->ReadFast();
  f.Finish();
  CHECK(f.store.text[LOG_SOURCE_JOB].size() == 40'000'000);
}

// What the command writes meanwhile is far more than the line and its buffers hold.
void ReadSlowlyThenNot(int slow_bytes, std::chrono::seconds away) {
  Fixture f;
  f.store.keeps_text = false;
  f.runner.Start();
  const std::string go = f.runner.Path("go");
  SlowRelay relay(f.runner.Path("runner.sock"));
  f.client.emplace(relay.Target(), f.runner.token(), f.store);
  f.client->Submit(MakeShellJob("echo begin; while [ ! -e " + go + " ]; do sleep 0.01; done; " +
                                Endless("40000000")));
  f.client->StartJob();
  testing::Await(30s, [&] { return f.client->Bytes(LOG_SOURCE_JOB) > 0; });
  relay.SlowDown();
  REQUIRE(base::WriteFileAtomic(go, "").ok());
  testing::Await(std::chrono::seconds(60 + 3 * slow_bytes),
                 [&] { return relay.slow_bytes() >= slow_bytes; });
  f.client.reset();
  testing::Await(60s, [&] { return base::Exists(f.runner.Path("exit.pb")); });
  // The time itself is what is tested.
  std::this_thread::sleep_for(away);
  f.client.emplace(f.runner.Target(), f.runner.token(), f.store);
  f.Finish();
  CHECK(f.store.bytes[LOG_SOURCE_JOB] == 40'000'006);
  CHECK(f.store.dropped_bytes == 0);
  CHECK(f.store.defect.empty());
  f.CheckMemory();
}

TEST_CASE("a reader of one byte a second that then goes away finds everything") {
  ReadSlowlyThenNot(3, 0s);
}

TEST_CASE("a reader of one byte a second that then is away for minutes finds everything",
          "[.][nightly]") {
  ReadSlowlyThenNot(180, 180s);
}

// A runner whose spools have a small disk of their own.
struct SmallSpool {
  // Null: skipped.
  static std::unique_ptr<SmallSpool> Start() {
    auto disk = testing::SmallDisk::Make(600'000);
    if (disk == nullptr) return nullptr;
    auto spool = std::make_unique<SmallSpool>();
    spool->disk = std::move(disk);
    REQUIRE(symlink(spool->disk->path().c_str(), spool->runner.Path("spool").c_str()) == 0);
    spool->runner.Start();
    return spool;
  }
  std::unique_ptr<SessionClient> Connect() {
    return std::make_unique<SessionClient>(runner.Target(), runner.token(), store);
  }
  // Part of a script: until Go().
  std::string AwaitGo() const {
    return "while ! test -e " + runner.Path("go") + "; do sleep 0.01; done; ";
  }
  void Go() const { REQUIRE(base::WriteFileAtomic(runner.Path("go"), "").ok()); }

  std::unique_ptr<testing::SmallDisk> disk;
  RunnerProcess runner;
  ServerStore store;
};

TEST_CASE("a spool whose disk is full delays the command and loses nothing while somebody reads") {
  const auto f = SmallSpool::Start();
  if (f == nullptr) return;
  const auto client = f->Connect();
  client->Submit(MakeShellJob(Endless("5000000")));
  client->StartJob();
  client->AwaitState(v1::JOB_STATE_FINISHED);
  client->AwaitEndOfLogs();
  CHECK(f->store.text[LOG_SOURCE_JOB].size() == 5'000'000);
  CHECK(f->store.dropped_bytes == 0);
}

// Up to which record of the command's output the runner knows that the server has it.
std::uint64_t Acknowledged(const RunnerProcess& runner) {
  const v1::GetJobResponse job = GetJob(runner.Target(), runner.token());
  for (const v1::LogPosition& position : job.acknowledged()) {
    if (position.source() == LOG_SOURCE_JOB) return position.sequence();
  }
  return 0;
}

TEST_CASE("a full disk gets the space of delivered records back from who read them last") {
  const auto f = SmallSpool::Start();
  if (f == nullptr) return;
  const auto client = f->Connect();
  client->Submit(MakeShellJob(Endless("300000") + "; " + f->AwaitGo() + Endless("200000")));
  client->StartJob();
  testing::Await(20s, [&] {
    return client->Bytes(LOG_SOURCE_JOB) == 300'000 &&
           Acknowledged(f->runner) == client->Position(LOG_SOURCE_JOB);
  });
  // From here on the only space is that of records which the server has.
  f->disk->Fill();
  f->Go();
  client->AwaitState(v1::JOB_STATE_FINISHED);
  client->AwaitEndOfLogs();
  CHECK(f->store.text[LOG_SOURCE_JOB].size() == 500'000);
  CHECK(f->store.dropped_bytes == 0);
}

TEST_CASE("a spool whose disk stays full leaves a gap of the stated length") {
  const auto f = SmallSpool::Start();
  if (f == nullptr) return;
  {
    const auto client = f->Connect();
    client->Submit(MakeShellJob(f->AwaitGo() + Endless("5000000")));
    client->AwaitFilesNeeded();
    client->StartJob();
    client->AwaitState(v1::JOB_STATE_RUNNING);
  }
  f->Go();
  // Longer than the runner waits for space.
  testing::Await(60s, [&] { return base::Exists(f->runner.Path("exit.pb")); });
  const auto client = f->Connect();
  const v1::JobStatus status = client->AwaitState(v1::JOB_STATE_FINISHED);
  CHECK(status.exit_status() == 0);
  client->AwaitEndOfLogs();
  CHECK(f->store.dropped_bytes > 4'000'000);
  CHECK(f->store.text[LOG_SOURCE_JOB].size() + f->store.dropped_bytes == 5'000'000);
}

TEST_CASE("records that were deleted after their acknowledgement are marked when asked for again") {
  Fixture f({"--log-spool-bytes", "400000"});
  f.Run(MakeShellJob(Endless("3000000") + "; cat"));
  testing::Await(20s, [&] { return f.client->Bytes(LOG_SOURCE_JOB) == 3'000'000; });
  const std::uint64_t last = f.store.positions[LOG_SOURCE_JOB];
  f.client.reset();
  // A server that went back to an older state of its database.
  ServerStore older;
  f.client.emplace(f.runner.Target(), f.runner.token(), older);
  testing::Await(20s, [&] { return f.client->Position(LOG_SOURCE_JOB) == last; });
  f.client->StopJob(0);
  f.client->AwaitState(v1::JOB_STATE_FINISHED);
  f.client->AwaitEndOfLogs();
  CHECK(older.defect.empty());
  CHECK(older.dropped_bytes > 0);
  CHECK(older.text[LOG_SOURCE_JOB].size() < 3'000'000);
}

}  // namespace
}  // namespace dstack::runner
