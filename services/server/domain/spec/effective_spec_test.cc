#include "services/server/domain/spec/effective_spec.h"

#include <functional>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::server {
namespace {

api::v1::RunSpec Task() {
  api::v1::RunSpec spec;
  spec.mutable_configuration()->mutable_task()->add_commands("true");
  return spec;
}

TEST_CASE("defaults are filled in") {
  const auto spec = EffectiveSpec(Task());
  REQUIRE(spec.ok());
  CHECK(spec->configuration().resources().cpu().count().min() == 2);
  CHECK(spec->configuration().resources().memory().min_bytes() == 8ULL << 30);
}

TEST_CASE("the profile lies under the configuration") {
  api::v1::RunSpec spec = Task();
  spec.mutable_profile()->set_name("p");
  spec.mutable_profile()->mutable_params()->set_max_price(1.5);
  spec.mutable_profile()->mutable_params()->add_fleets()->set_name("a");
  spec.mutable_configuration()->mutable_profile()->add_fleets()->set_name("b");
  const auto effective = EffectiveSpec(spec);
  REQUIRE(effective.ok());
  CHECK(effective->configuration().profile().max_price() == 1.5);
  REQUIRE(effective->configuration().profile().fleets_size() == 1);
  CHECK(effective->configuration().profile().fleets(0).name() == "b");
}

TEST_CASE("what cannot be honoured is refused with its path") {
  struct Row {
    const char* field;
    std::function<void(config::v1::RunConfiguration*)> set;
  };
  const Row row = GENERATE(
      Row{"nodes", [](auto* run) { run->mutable_task()->set_nodes(2); }},
      Row{"schedule",
          [](auto* run) { run->mutable_profile()->mutable_schedule()->add_cron("* * * * *"); }},
      Row{"entrypoint",
          [](auto* run) {
            run->set_image("x");
            run->set_entrypoint("a 'b");
          }},
      Row{"python", [](auto* run) { run->set_python("3.12"); }});
  INFO(row.field);
  api::v1::RunSpec spec = Task();
  row.set(spec.mutable_configuration());
  const auto effective = EffectiveSpec(spec);
  REQUIRE(absl::IsInvalidArgument(effective.status()));
  const auto violations = base::FieldViolations(effective.status());
  REQUIRE(violations.size() == 1);
  CHECK(violations[0].field == row.field);
}

TEST_CASE("all wrong fields are told at once") {
  api::v1::RunSpec spec = Task();
  spec.set_run_name("Bad Name");
  spec.mutable_configuration()->set_dstack(true);
  spec.add_files()->set_digest("zz");
  const auto effective = EffectiveSpec(spec);
  REQUIRE_FALSE(effective.ok());
  CHECK(base::FieldViolations(effective.status()).size() == 4);
}

}  // namespace
}  // namespace dstack::server
