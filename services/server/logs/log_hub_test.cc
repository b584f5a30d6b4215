#include "services/server/logs/log_hub.h"

#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using common::v1::LOG_SOURCE_JOB;
using common::v1::LogBatch;

class ManualNotifications final : public Notifications {
 public:
  std::unique_ptr<Subscription> Subscribe(
      const std::string& name, std::function<void(const std::string&)> callback) override {
    callbacks_.emplace(name, std::move(callback));
    return std::make_unique<Subscription>();
  }
  void Send(const std::string& name, const std::string& payload) {
    auto [begin, end] = callbacks_.equal_range(name);
    for (auto it = begin; it != end; ++it) it->second(payload);
  }

 private:
  std::multimap<std::string, std::function<void(const std::string&)>> callbacks_;
};

LogBatch Batch(std::uint64_t first, std::uint64_t last, std::size_t bytes = 1) {
  LogBatch batch;
  batch.set_source(LOG_SOURCE_JOB);
  for (std::uint64_t i = first; i <= last; ++i) {
    auto* record = batch.add_records();
    record->set_sequence(i);
    record->set_data(std::string(bytes, 'x'));
  }
  return batch;
}

const JobId kJob("job-1");
const RunId kRun("run-1");

TEST_CASE("a log that nobody follows is not kept") {
  ManualNotifications notifications;
  LogHub hub(notifications);
  hub.Publish(kJob, Batch(1, 10), false);
  CHECK(hub.bytes() == 0);
}

TEST_CASE("followers are woken once per news and read from memory") {
  ManualNotifications notifications;
  LogHub hub(notifications);
  std::vector<LogHub::Wake> wakes;
  auto tap =
      hub.Follow(kRun, kJob, LOG_SOURCE_JOB, [&](LogHub::Wake wake) { wakes.push_back(wake); });
  CHECK_FALSE(tap->ReadAfter(0, 1000).has_value());

  hub.Publish(kJob, Batch(1, 3), false);
  hub.Publish(kJob, Batch(4, 5), false);
  // The notification of the same transaction says nothing new.
  notifications.Send(channel::kLog, "job-1:1:5:0");
  CHECK(wakes.size() == 2);
  auto read = tap->ReadAfter(2, 1000);
  REQUIRE(read.has_value());
  CHECK(read->records_size() == 3);
  CHECK(read->records(0).sequence() == 3);
  CHECK_FALSE(tap->ReadAfter(5, 1000).has_value());

  hub.Publish(kJob, Batch(6, 5), true);
  CHECK(tap->position().is_ended);
  CHECK(tap->position().last_sequence == 5);
  notifications.Send(channel::kLog, "job-1:1:5:1");
  CHECK(wakes.size() == 3);

  notifications.Send(channel::kRun, "run-1");
  notifications.Send(channel::kRun, "run-2");
  CHECK(wakes.back() == LogHub::Wake::kState);
  CHECK(wakes.size() == 4);
  notifications.Send(channel::kLog, "");
  CHECK(wakes.back() == LogHub::Wake::kLookAgain);

  tap.reset();
  CHECK(hub.bytes() == 0);
}

TEST_CASE("other replicas' records wake without being in memory") {
  ManualNotifications notifications;
  LogHub hub(notifications);
  int wakes = 0;
  auto tap = hub.Follow(kRun, kJob, LOG_SOURCE_JOB, [&](LogHub::Wake) { ++wakes; });
  notifications.Send(channel::kLog, "job-1:1:7:0");
  notifications.Send(channel::kLog, "job-1:2:9:0");
  notifications.Send(channel::kLog, "nonsense");
  CHECK(wakes == 1);
  CHECK(tap->position().last_sequence == 7);
  CHECK_FALSE(tap->ReadAfter(0, 1000).has_value());
}

TEST_CASE("memory is bounded per log and in all, and a hole starts afresh") {
  ManualNotifications notifications;
  LogHub hub(notifications, {.bytes_per_log = 4000, .bytes_total = 6000});
  auto tap = hub.Follow(kRun, kJob, LOG_SOURCE_JOB, [](LogHub::Wake) {});
  for (std::uint64_t i = 1; i <= 10; ++i) hub.Publish(kJob, Batch(i, i, 1000), false);
  CHECK(hub.bytes() <= 4000);
  CHECK_FALSE(tap->ReadAfter(0, 1 << 20).has_value());
  CHECK(tap->ReadAfter(8, 1 << 20)->records_size() == 2);
  CHECK(tap->ReadAfter(7, 1000)->records_size() == 1);

  hub.Publish(kJob, Batch(20, 20, 10), false);
  CHECK_FALSE(tap->ReadAfter(9, 1000).has_value());
  CHECK(tap->ReadAfter(19, 1000)->records_size() == 1);

  const JobId other("job-2");
  auto second = hub.Follow(kRun, other, LOG_SOURCE_JOB, [](LogHub::Wake) {});
  hub.Publish(other, Batch(1, 1, 7000), false);
  CHECK_FALSE(second->ReadAfter(0, 1000).has_value());
  CHECK(second->position().last_sequence == 1);
}

}  // namespace
}  // namespace dstack::server
