// What every task journal promises: the fake and the files.
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/mount.h>

#include "libs/base/file.h"
#include "libs/base/uuid.h"
#include "libs/testing/await.h"
#include "libs/testing/log_capture.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/adapters/fake_task_journal.h"
#include "services/shim/adapters/file_task_journal.h"

namespace dstack::shim {
namespace {

constexpr char kFirst[] = "66a886db-86db-4cf9-8c06-8984ad15dde2";
constexpr char kSecond[] = "41728e34-bf7e-41da-bf0e-0f46764b1752";

record::TaskRecord MakeRecord(const std::string& task_id, v1::TaskState state) {
  record::TaskRecord record;
  record.mutable_spec()->set_task_id(task_id);
  record.mutable_spec()->set_runner_token("token");
  record.mutable_status()->set_task_id(task_id);
  record.mutable_status()->set_state(state);
  return record;
}

// Cuts the last record of a task as a power loss in the middle of its write does.
using Tear = std::function<void(const std::string& task_id)>;

void ForEach(const std::function<void(TaskJournal&, const Tear&)>& body) {
  {
    INFO("fake");
    FakeTaskJournal journal;
    body(journal, [&](const std::string& task_id) { journal.TearLast(task_id); });
  }
  INFO("file");
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  body(journal, [&](const std::string& task_id) {
    const std::string path = home.TaskDir(task_id) + "/task.pb";
    const std::string whole = base::ReadFile(path).value_or("");
    REQUIRE(base::WriteFileAtomic(path, whole.substr(0, whole.size() / 2), 0600).ok());
  });
}

void ForEach(const std::function<void(TaskJournal&)>& body) {
  ForEach([&](TaskJournal& journal, const Tear&) { body(journal); });
}

TEST_CASE("what was saved last is loaded") {
  ForEach([](TaskJournal& journal) {
    CHECK(journal.LoadAll()->empty());
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
    REQUIRE(journal.Save(MakeRecord(kSecond, v1::TASK_STATE_PULLING)).ok());
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_RUNNING)).ok());
    const auto records = journal.LoadAll();
    REQUIRE(records.ok());
    REQUIRE(records->size() == 2);
    for (const auto& record : *records) {
      const bool is_first = record.spec().task_id() == kFirst;
      CHECK(record.status().state() ==
            (is_first ? v1::TASK_STATE_RUNNING : v1::TASK_STATE_PULLING));
    }
  });
}

TEST_CASE("a removed task is gone; removing again is fine") {
  ForEach([](TaskJournal& journal) {
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
    CHECK(journal.Remove(kFirst).ok());
    CHECK(journal.Remove(kFirst).ok());
    CHECK(journal.LoadAll()->empty());
  });
}

TEST_CASE("a torn write gives the record before it, and leaves other tasks alone") {
  ForEach([](TaskJournal& journal, const Tear& tear) {
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PULLING)).ok());
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_RUNNING)).ok());
    REQUIRE(journal.Save(MakeRecord(kSecond, v1::TASK_STATE_RUNNING)).ok());
    tear(kFirst);
    auto records = journal.LoadAll();
    REQUIRE(records.ok());
    REQUIRE(records->size() == 2);
    for (const auto& record : *records) {
      const bool is_first = record.spec().task_id() == kFirst;
      CHECK(record.status().state() ==
            (is_first ? v1::TASK_STATE_PULLING : v1::TASK_STATE_RUNNING));
    }
    // Life goes on.
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_TERMINATED)).ok());
    CHECK(journal.LoadAll()->size() == 2);
  });
}

TEST_CASE("a torn first write leaves no task") {
  ForEach([](TaskJournal& journal, const Tear& tear) {
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
    tear(kFirst);
    const auto records = journal.LoadAll();
    REQUIRE(records.ok());
    CHECK(records->empty());
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
    CHECK(journal.LoadAll()->size() == 1);
  });
}

TEST_CASE("a disk that takes nothing more is an error, and the record before stays") {
  const testing::TempDir dir;
  // A file system of 64 KiB; needs root rights, which CI has.
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    testing::Skip("a small file system cannot be mounted here");
    return;
  }
  {
    const ShimHome home(dir.path());
    FileTaskJournal journal(home);
    REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_RUNNING)).ok());
    static_cast<void>(base::WriteFileAtomic(dir.Path("ballast"), std::string(40 << 10, 'x')).ok());
    auto large = MakeRecord(kFirst, v1::TASK_STATE_TERMINATED);
    large.mutable_status()->set_termination_message(std::string(32 << 10, 'm'));
    const absl::Status full = journal.Save(large);
    CHECK(full.code() == absl::StatusCode::kResourceExhausted);
    INFO(full);
    CHECK(std::string(full.message()).find("No space left") != std::string::npos);
    const auto records = journal.LoadAll();
    REQUIRE(records.ok());
    REQUIRE(records->size() == 1);
    CHECK((*records)[0].status().state() == v1::TASK_STATE_RUNNING);
    // A removal makes room even then.
    CHECK(journal.Remove(kFirst).ok());
    REQUIRE(base::RemoveAll(dir.Path("ballast")).ok());
    CHECK(journal.Save(large).ok());
  }
  ::umount(dir.path().c_str());
}

TEST_CASE("a torn file gives its predecessor, and an alarm") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PULLING)).ok());
  REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_RUNNING)).ok());
  const std::string path = home.TaskDir(kFirst) + "/task.pb";
  const std::string whole = base::ReadFile(path).value_or("");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    REQUIRE(base::WriteFileAtomic(path, whole.substr(0, size), 0600).ok());
    const testing::LogCapture log;
    const auto records = journal.LoadAll();
    REQUIRE(records.ok());
    REQUIRE(records->size() == 1);
    CHECK((*records)[0].status().state() == v1::TASK_STATE_PULLING);
    CHECK(log.Contains("cannot be read"));
  }
}

TEST_CASE("a task whose records are all damaged is set aside, the others live") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
  REQUIRE(journal.Save(MakeRecord(kSecond, v1::TASK_STATE_PENDING)).ok());
  REQUIRE(base::WriteFileAtomic(home.TaskDir(kFirst) + "/task.pb", "garbage", 0600).ok());
  const testing::LogCapture log;
  const auto records = journal.LoadAll();
  REQUIRE(records.ok());
  REQUIRE(records->size() == 1);
  CHECK((*records)[0].spec().task_id() == kSecond);
  CHECK_FALSE(base::Exists(home.TaskDir(kFirst)));
  CHECK(base::Exists(home.Damaged()));
  CHECK(log.Contains("set aside"));
}

TEST_CASE("a record under another task's name is not taken") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  REQUIRE(journal.Save(MakeRecord(kFirst, v1::TASK_STATE_PENDING)).ok());
  const std::string text = base::ReadFile(home.TaskDir(kFirst) + "/task.pb").value_or("");
  REQUIRE(base::MakeDirs(home.TaskDir(kSecond), 0700).ok());
  REQUIRE(base::WriteFileAtomic(home.TaskDir(kSecond) + "/task.pb", text, 0600).ok());
  const testing::LogCapture log;
  CHECK(journal.LoadAll()->size() == 1);
}

TEST_CASE("tasks that are removed at the same time leave nothing, and no alarm") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  std::vector<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(base::NewUuid());
    REQUIRE(journal.Save(MakeRecord(ids.back(), v1::TASK_STATE_TERMINATED)).ok());
  }
  const testing::LogCapture log;
  std::atomic<std::size_t> next = 0;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads(4);
    for (std::jthread& thread : threads) {
      thread = std::jthread([&] {
        for (std::size_t i = next++; i < ids.size(); i = next++) {
          if (!journal.Remove(ids[i]).ok()) ++failures;
        }
      });
    }
  }
  CHECK(failures == 0);
  CHECK_FALSE(log.Contains("leaves files behind"));
  CHECK(std::filesystem::is_empty(home.Trash()));
  CHECK(std::filesystem::is_empty(home.Tasks()));
}

TEST_CASE("a submit that was never answered leaves nothing") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  REQUIRE(base::MakeDirs(home.TaskDir(kFirst), 0700).ok());
  CHECK(journal.LoadAll()->empty());
  CHECK_FALSE(base::Exists(home.TaskDir(kFirst)));
  CHECK(std::filesystem::is_empty(home.Trash()));
  CHECK_FALSE(base::Exists(home.Damaged()));
}

}  // namespace
}  // namespace dstack::shim
