// What every task journal promises: the fake and the files.
#include <functional>
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
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

void ForEach(const std::function<void(TaskJournal&)>& body) {
  {
    INFO("fake");
    FakeTaskJournal journal;
    body(journal);
  }
  INFO("file");
  const testing::TempDir dir;
  FileTaskJournal journal((ShimHome(dir.path())));
  body(journal);
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

TEST_CASE("a submit that was never answered leaves nothing") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  FileTaskJournal journal(home);
  REQUIRE(base::MakeDirs(home.TaskDir(kFirst), 0700).ok());
  CHECK(journal.LoadAll()->empty());
  CHECK_FALSE(base::Exists(home.TaskDir(kFirst)));
  CHECK_FALSE(base::Exists(home.Damaged()));
}

}  // namespace
}  // namespace dstack::shim
