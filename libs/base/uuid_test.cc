#include "libs/base/uuid.h"

#include <algorithm>
#include <set>

#include <catch2/catch.hpp>

#include "libs/base/version.h"

namespace dstack::base {
namespace {

TEST_CASE("a uuid has version 4, the right variant and does not repeat") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = NewUuid();
    CHECK(IsUuid(uuid));
    CHECK(uuid[14] == '4');
    CHECK(std::string_view("89ab").find(uuid[19]) != std::string_view::npos);
    seen.insert(uuid);
  }
  CHECK(seen.size() == 1000);
}

TEST_CASE("other text is no uuid") {
  CHECK_FALSE(IsUuid(""));
  CHECK_FALSE(IsUuid("0000000000004000800000000000000000000"));
  CHECK_FALSE(IsUuid("00000000-0000-4000-8000-00000000000g"));
  CHECK_FALSE(IsUuid("0000000-00000-4000-8000-000000000000"));
}

TEST_CASE("sequential ids are uuids in order") {
  SequentialIdSource ids;
  CHECK(ids.NewId() == "00000000-0000-4000-8000-000000000001");
  CHECK(ids.NewId() == "00000000-0000-4000-8000-000000000002");
}

TEST_CASE("the version has three parts") {
  CHECK(std::count(Version().begin(), Version().end(), '.') == 2);
}

}  // namespace
}  // namespace dstack::base
