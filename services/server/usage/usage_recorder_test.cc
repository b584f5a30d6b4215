#include "services/server/usage/usage_recorder.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::server {
namespace {

class MemoryUsage final : public UsageStore {
 public:
  absl::Status Append(const std::vector<Row>& rows) override {
    ++statements;
    if (!failure.ok()) return failure;
    for (const Row& row : rows) stored.push_back(row.subject_id);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<api::v1::UsagePoint>> Read(const std::string&,
                                                        const Window&) override {
    return std::vector<api::v1::UsagePoint>();
  }

  absl::Status failure;
  int statements = 0;
  std::vector<std::string> stored;
};

TEST_CASE("points of many hosts go into one statement, in order") {
  MemoryUsage store;
  UsageRecorder recorder(store);
  CHECK_FALSE(recorder.Flush());
  CHECK(store.statements == 0);
  for (const char* id : {"a", "b", "c"}) recorder.Add(id, {});
  CHECK_FALSE(recorder.Flush());
  CHECK(store.statements == 1);
  CHECK(store.stored == std::vector<std::string>{"a", "b", "c"});
  for (int i = 0; i < 600; ++i) recorder.Add("d", {});
  CHECK(recorder.Flush());
  CHECK_FALSE(recorder.Flush());
  CHECK(store.stored.size() == 603);
}

TEST_CASE("a database that is away delays points; what it refuses is dropped") {
  MemoryUsage store;
  UsageRecorder recorder(store, /*capacity=*/2);
  recorder.Add("a", {});
  recorder.Add("b", {});
  store.failure = base::Unavailable("away");
  CHECK_FALSE(recorder.Flush());
  recorder.Add("c", {});
  store.failure = absl::OkStatus();
  recorder.Flush();
  CHECK(store.stored == std::vector<std::string>{"b", "c"});
  recorder.Add("bad", {});
  store.failure = base::Invalid("no such id");
  recorder.Flush();
  store.failure = absl::OkStatus();
  recorder.Flush();
  CHECK(store.stored.size() == 2);
}

}  // namespace
}  // namespace dstack::server
