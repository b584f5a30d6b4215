#include <cctype>
#include <limits>

#include <catch2/catch.hpp>

#include "dstack/api/v1/run.pb.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/db/errors.h"
#include "libs/db/params.h"
#include "services/server/store/enums.h"
#include "services/server/store/migrations.h"
#include "services/server/store/page_token.h"
#include "services/server/store/random_names.h"
#include "services/server/store/segment_codec.h"

namespace dstack::server {
namespace {

TEST_CASE("enum values are words in the tables") {
  CHECK(WordOf(api::v1::RUN_STATUS_RUNNING) == "running");
  CHECK(WordOf(api::v1::JOB_TERMINATION_REASON_DONE_BY_RUNNER) == "done_by_runner");
  CHECK(FromWord<api::v1::RunStatus>("running") == api::v1::RUN_STATUS_RUNNING);
  CHECK(FromWord<api::v1::RunStatus>("newer") == api::v1::RUN_STATUS_UNSPECIFIED);
  CHECK_FALSE(WordOrNull(api::v1::RUN_TERMINATION_REASON_UNSPECIFIED).text.has_value());
}

TEST_CASE("page tokens come back, others are refused") {
  const std::vector<std::string> key = {"2026-01-01 00:00:00+00", "", "a-b"};
  CHECK(*DecodePageToken(EncodePageToken(key), 3) == key);
  for (const std::string& token : {std::string("x"), EncodePageToken({"a"}), std::string("!!!")}) {
    CHECK(base::Reason(DecodePageToken(token, 3).status()) == "INVALID_PAGE_TOKEN");
  }
}

TEST_CASE("generated names keep the rule for names") {
  base::SeededRandom random(1);
  for (int i = 0; i < 1000; ++i) {
    const std::string pair = RandomPair(random);
    CHECK(pair.size() <= 30);
    for (const char c : pair) CHECK((std::islower(c) != 0 || c == '-'));
  }
  CHECK(LowestFreeName("wet-fox", {"wet-fox-1", "wet-fox-3"}) == "wet-fox-2");
}

TEST_CASE("log frames follow one another and damage is noticed") {
  common::v1::LogBatch batch;
  auto* record = batch.add_records();
  record->set_sequence(1);
  record->set_data(std::string(1000, 'x'));
  const std::string frame = EncodeFrame(batch);
  CHECK(frame.size() < 100);
  common::v1::LogBatch decoded;
  REQUIRE(DecodeFrames(frame + frame, &decoded).ok());
  CHECK(decoded.records_size() == 2);
  CHECK_FALSE(DecodeFrames(frame.substr(0, frame.size() - 3), &decoded).ok());
  CHECK_FALSE(DecodeFrames("nonsense", &decoded).ok());
}

TEST_CASE("migrations are numbered without holes") {
  int expected = 0;
  for (const db::Migration& migration : Migrations()) {
    CHECK(migration.number == ++expected);
    CHECK_FALSE(migration.name.empty());
  }
  CHECK(expected >= 1);
}

TEST_CASE("parameters are written as PostgreSQL reads them") {
  CHECK(db::ArrayLiteral(std::vector<std::string>{"a\"b", "c\\d", ""}) == R"({"a\"b","c\\d",""})");
  CHECK(db::BytesLiteral("\x01\xff") == "\\x01ff");
  const auto time = std::chrono::system_clock::time_point(std::chrono::microseconds(1'500'000));
  CHECK(db::TimeLiteral(time) == "1970-01-01 00:00:01.500000+00");
  CHECK(db::TimeLiteral(time - std::chrono::seconds(2)) == "1969-12-31 23:59:59.500000+00");
  CHECK(db::ConstraintOf("duplicate key violates unique constraint \"a_b\"\nDETAIL") == "a_b");
}

TEST_CASE("text is made valid UTF-8 without NUL") {
  const std::string replacement = "\xEF\xBF\xBD";
  struct Case {
    const char* name;
    std::string in;
    std::string out;
  };
  const std::vector<Case> cases = {
      {"plain", "abc", "abc"},
      {"multi-byte",
       "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80",
       "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
      {"nul", std::string("a\0b", 3), "a" + replacement + "b"},
      {"lone byte", "a\xff", "a" + replacement},
      {"cut short", "\xE2\x82", replacement + replacement},
      {"overlong", "\xC0\xAF", replacement + replacement},
      {"surrogate", "\xED\xA0\x80", replacement + replacement + replacement},
      {"too high", "\xF5\x80\x80\x80", replacement + replacement + replacement + replacement},
  };
  for (const Case& entry : cases) {
    INFO(entry.name);
    CHECK(db::CleanText(entry.in) == entry.out);
  }
}

}  // namespace
}  // namespace dstack::server
