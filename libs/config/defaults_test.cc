#include "libs/config/defaults.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/config/format.h"
#include "libs/config/overlay.h"

namespace dstack::config {
namespace {

v1::RunConfiguration Task() {
  v1::RunConfiguration run;
  run.mutable_task()->add_commands("x");
  return run;
}

TEST_CASE("resources have defaults and can be shown in one line") {
  v1::RunConfiguration run = Task();
  ApplyDefaults(&run);
  CHECK(FormatResources(run.resources()) == "cpu=2.. mem=8GB.. disk=100GB..");
  CHECK(run.resources().gpu().vendor() == v1::GPU_VENDOR_NVIDIA);
  CHECK(run.task().nodes() == 1);
  const std::string once = run.SerializeAsString();
  ApplyDefaults(&run);
  CHECK(run.SerializeAsString() == once);
}

TEST_CASE("flags replace resources whole") {
  v1::RunConfiguration run = Task();
  v1::Resources* resources = run.mutable_resources();
  REQUIRE(SetResource("gpu", "A100:80GB:2", resources).ok());
  REQUIRE(SetResource("cpu", "arm:4..", resources).ok());
  REQUIRE(SetResource("memory", "16GB..32GB", resources).ok());
  REQUIRE(SetResource("disk", "50GB..", resources).ok());
  CHECK(FormatResources(*resources) == "cpu=arm:4.. mem=16GB..32GB disk=50GB.. gpu=A100:80GB:2");
  const absl::Status wrong = SetResource("gpu", "A100:", resources);
  CHECK(base::FieldViolations(wrong)[0].field == "resources.gpu");
}

TEST_CASE("the vendor of GPUs follows from names and image") {
  const auto vendor = [](const std::string& gpu, bool has_image) {
    v1::Resources resources;
    REQUIRE(SetResource("gpu", gpu, &resources).ok());
    ApplyResourceDefaults(!has_image, &resources);
    return resources.gpu().vendor();
  };
  CHECK(vendor("1", false) == v1::GPU_VENDOR_NVIDIA);
  CHECK(vendor("1", true) == v1::GPU_VENDOR_UNSPECIFIED);
  CHECK(vendor("a100", true) == v1::GPU_VENDOR_NVIDIA);
  CHECK(vendor("MI300X", true) == v1::GPU_VENDOR_AMD);
  CHECK(vendor("H100,MI300X", true) == v1::GPU_VENDOR_UNSPECIFIED);
  CHECK(vendor("v5litepod-8", true) == v1::GPU_VENDOR_GOOGLE);
  CHECK(vendor("Unknown9", false) == v1::GPU_VENDOR_UNSPECIFIED);
  CHECK(vendor("0", false) == v1::GPU_VENDOR_UNSPECIFIED);
}

TEST_CASE("the configuration wins over the profile, whole values at a time") {
  v1::ProfileParams profile;
  profile.add_backends("aws");
  profile.add_regions("eu");
  profile.set_max_price(2);
  profile.set_spot_policy(v1::SPOT_POLICY_AUTO);
  (*profile.mutable_tags())["team"] = "ml";
  profile.mutable_retry()->set_enabled(true);
  v1::RunConfiguration run = Task();
  run.mutable_profile()->add_backends("gcp");
  run.mutable_profile()->add_cleared_fields("regions");
  run.mutable_profile()->mutable_retry()->set_enabled(false);
  MergeProfile(profile, &run);
  const v1::ProfileParams& merged = run.profile();
  CHECK(merged.backends_size() == 1);
  CHECK(merged.backends(0) == "gcp");
  CHECK(merged.regions_size() == 0);
  CHECK(merged.max_price() == 2);
  CHECK(merged.spot_policy() == v1::SPOT_POLICY_AUTO);
  CHECK(merged.tags().at("team") == "ml");
  CHECK(!merged.retry().enabled());
}

TEST_CASE("a fleet takes only what fleets have") {
  v1::ProfileParams profile;
  profile.add_backends("aws");
  *profile.mutable_max_duration()->mutable_duration() = ToDuration(60);
  v1::FleetConfiguration cloud;
  cloud.mutable_nodes()->set_min(1);
  MergeProfile(profile, &cloud);
  CHECK(cloud.profile().backends_size() == 1);
  CHECK(!cloud.profile().has_max_duration());
  v1::FleetConfiguration hosts;
  hosts.mutable_ssh_config();
  MergeProfile(profile, &hosts);
  CHECK(!hosts.has_profile());
}

TEST_CASE("flags for variables, ports and durations") {
  v1::RunConfiguration run = Task();
  REQUIRE(SetEnv("A=1", run.mutable_env()).ok());
  REQUIRE(SetEnv("A=2=3", run.mutable_env()).ok());
  REQUIRE(run.env_size() == 1);
  CHECK(run.env(0).value() == "2=3");
  CHECK(!SetEnv("1A=secret", run.mutable_env()).ok());
  REQUIRE(SetEnv("DSTACK_TEST_SURELY_UNSET", run.mutable_env()).ok());
  const absl::Status unset = ResolveEnv(run.mutable_env());
  CHECK(base::FieldViolations(unset)[0].field == "env[1]");
  auto* ports = run.mutable_task()->mutable_ports();
  REQUIRE(MergePorts({"8000"}, ports).ok());
  REQUIRE(MergePorts({"9000:8000", "*:7000"}, ports).ok());
  REQUIRE(ports->size() == 2);
  CHECK(ports->Get(0).local_port() == 9000);
  CHECK(!ports->Get(1).has_local_port());
  CHECK(!MergePorts({"80:8080", "80:9090"}, ports).ok());
  v1::ProfileParams* params = run.mutable_profile();
  REQUIRE(SetMaxDuration("off", params).ok());
  CHECK(params->max_duration().off());
  REQUIRE(SetIdleDuration("-1", params).ok());
  CHECK(params->idle_duration().off());
  REQUIRE(SetRetryDuration("2h", params).ok());
  CHECK(FormatRetry(*params) == "2h[no-capacity, interruption, error]");
  REQUIRE(SetFleets({"a", "p/b"}, params).ok());
  CHECK(params->fleets(1).project() == "p");
  CHECK(!SetFleets({"a//b"}, params).ok());
  CHECK(ParseSpotPolicy("auto").value() == v1::SPOT_POLICY_AUTO);
  CHECK(!ParseSpotPolicy("Auto").ok());
}

}  // namespace
}  // namespace dstack::config
