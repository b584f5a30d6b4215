#include "services/shim/api/identity_store.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/api/session_hub.h"

namespace dstack::shim {
namespace {

TEST_CASE("the shim's id stays, the first server is pinned, epochs only rise") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  auto store = IdentityStore::Load(home);
  REQUIRE(store.ok());
  CHECK(store->Accept("server", 3).ok());
  CHECK(store->Accept("server", 3).ok());
  const absl::Status stale = store->Accept("server", 2);
  CHECK(base::Reason(stale) == "STALE_EPOCH");
  CHECK(stale.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Reason(store->Accept("other", 9)) == "ACCESS_DENIED");
  CHECK(store->Accept("", 9).code() == absl::StatusCode::kInvalidArgument);
  CHECK(store->Accept("a\nb", 9).code() == absl::StatusCode::kInvalidArgument);

  const auto again = IdentityStore::Load(home);
  REQUIRE(again.ok());
  CHECK(again->shim_id() == store->shim_id());
  CHECK(again->epoch() == 3);
}

TEST_CASE("an epoch that cannot be read is an error, not a zero") {
  const testing::TempDir dir;
  const ShimHome home(dir.path());
  REQUIRE(base::WriteFileAtomic(home.Epoch(), "many\n", 0600).ok());
  CHECK(IdentityStore::Load(home).status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("stop policies") {
  v1::StopPolicy policy;
  CHECK(ToStopRequest(policy, "m")->grace == std::chrono::milliseconds(0));
  policy.mutable_grace()->set_seconds(1);
  policy.mutable_grace()->set_nanos(500'000'000);
  CHECK(ToStopRequest(policy, "m")->grace == std::chrono::milliseconds(1500));
  for (const std::int64_t seconds :
       {std::int64_t{-1}, std::int64_t{86'401}, std::int64_t{1} << 62}) {
    policy.mutable_grace()->set_seconds(seconds);
    CHECK(base::Reason(ToStopRequest(policy, "m").status()) == "INVALID_FIELDS");
  }
}

}  // namespace
}  // namespace dstack::shim
