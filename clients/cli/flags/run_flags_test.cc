#include "clients/cli/flags/run_flags.h"

#include <functional>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "clients/cli/flags/ssh_identity.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "libs/testing/temp_dir.h"

namespace dstack::cli {
namespace {

using config::v1::RunConfiguration;

RunConfiguration Parse(const std::string& keys) {
  const auto document =
      config::ParseDocument("type: task\ncommands: [x]\n" + keys + "\n", "test.yml");
  INFO(document.status());
  REQUIRE(document.ok());
  return std::get<RunConfiguration>(document->configuration);
}

TEST_CASE("a wrong flag is named with its value") {
  struct Row {
    std::function<void(RunFlags*)> set;
    const char* error;
  };
  const std::vector<Row> rows = {
      {[](auto* flags) { flags->name = "Foo_Bar"; }, "--name: "},
      {[](auto* flags) { flags->env = {"1bad=secret"}; }, "--env: "},
      {[](auto* flags) { flags->cpu = "amd64"; }, "--cpu: "},
      {[](auto* flags) { flags->gpu = "A100:"; }, "--gpu: "},
      {[](auto* flags) { flags->memory = "16GiB"; }, "--memory: "},
      {[](auto* flags) { flags->disk = "lots"; }, "--disk: "},
      {[](auto* flags) { flags->max_price = "-1"; }, "--max-price: "},
      {[](auto* flags) { flags->max_duration = "1h30m"; }, "--max-duration: "},
      {[](auto* flags) { flags->idle_duration = "never"; }, "--idle-duration: "},
      {[](auto* flags) { flags->retry_duration = "2y"; }, "--retry-duration: "},
      {[](auto* flags) { flags->spot_policy = "cheap"; }, "--spot-policy: "},
      {[](auto* flags) {
         flags->backends = {"remote", "mycloud"};
       },
       "--backend: "},
      {[](auto* flags) { flags->regions = {"a\nb"}; }, "--region: "},
      {[](auto* flags) { flags->fleets = {"a/b/c"}; }, "--fleet: "},
      {[](auto* flags) { flags->ports = {"80:http"}; }, "--port: "},
      {[](auto* flags) {
         flags->ports = {"80:8080", "80:9090"};
       },
       "--port: "},
  };
  const char* values[] = {"`Foo_Bar`",
                          "`1bad`",
                          "`amd64`",
                          "`A100:`",
                          "`16GiB`",
                          "`lots`",
                          "`-1`",
                          "`1h30m`",
                          "`never`",
                          "`2y`",
                          "`cheap`",
                          "`mycloud`",
                          "`a",
                          "`a/b/c`",
                          "`80:http`",
                          "port 80 "};
  for (size_t i = 0; i < rows.size(); ++i) {
    RunFlags flags;
    rows[i].set(&flags);
    RunConfiguration run = Parse("");
    const absl::Status status = ApplyRunFlags(flags, &run);
    const std::string text(base::Message(status));
    INFO(text);
    CHECK(text.find(rows[i].error) != std::string::npos);
    CHECK(text.find(values[i]) != std::string::npos);
    CHECK(text.find("secret") == std::string::npos);
    // One mistake, one line.
    CHECK(base::FieldViolations(status).size() == 1);
  }
}

// What counts: the flag, else the document, else the profile, else the default.
TEST_CASE("flags lie over the document, the document over the profile, the profile over defaults") {
  using Value = std::function<std::string(const RunConfiguration&)>;
  struct Row {
    const char* profile_key;  // in the profile; empty: profiles do not have it
    const char* document_key;
    std::function<void(RunFlags*)> set;
    Value value;
    const char* by_default;
    const char* by_profile;
    const char* by_document;
    const char* by_flag;
  };
  const std::vector<Row> rows = {
      {"max_price: 1",
       "max_price: 2",
       [](auto* flags) { flags->max_price = "3"; },
       [](const auto& run) { return fmt::format("{}", run.profile().max_price()); },
       "0",
       "1",
       "2",
       "3"},
      {"max_duration: 1h",
       "max_duration: 2h",
       [](auto* flags) { flags->max_duration = "off"; },
       [](const auto& run) { return run.profile().max_duration().ShortDebugString(); },
       "",
       "duration { seconds: 3600 }",
       "duration { seconds: 7200 }",
       "off: true"},
      {"idle_duration: 1h",
       "idle_duration: 2h",
       [](auto* flags) { flags->dont_destroy = true; },
       [](const auto& run) { return run.profile().idle_duration().ShortDebugString(); },
       "",
       "duration { seconds: 3600 }",
       "duration { seconds: 7200 }",
       "off: true"},
      {"regions: [a, b]",
       "regions: [c]",
       [](auto* flags) {
         flags->regions = {"d", "e"};
       },
       [](const auto& run) { return fmt::format("{}", fmt::join(run.profile().regions(), ",")); },
       "",
       "a,b",
       "c",
       "d,e"},
      {"regions: [a, b]",
       "regions: []",
       [](auto* flags) { flags->regions = {"d"}; },
       [](const auto& run) { return fmt::format("{}", fmt::join(run.profile().regions(), ",")); },
       "",
       "a,b",
       "",
       "d"},
      {"spot_policy: spot",
       "spot_policy: auto",
       [](auto* flags) { flags->on_demand = true; },
       [](const auto& run) { return config::v1::SpotPolicy_Name(run.profile().spot_policy()); },
       "SPOT_POLICY_UNSPECIFIED",
       "SPOT_POLICY_SPOT",
       "SPOT_POLICY_AUTO",
       "SPOT_POLICY_ON_DEMAND"},
      {"retry: true",
       "retry: {duration: 5m}",
       [](auto* flags) { flags->no_retry = true; },
       [](const auto& run) { return run.profile().retry().ShortDebugString(); },
       "",
       "enabled: true",
       "enabled: true duration { seconds: 300 }",
       ""},
      {"creation_policy: reuse-or-create",
       "creation_policy: reuse-or-create",
       [](auto* flags) { flags->reuse = true; },
       [](const auto& run) {
         return config::v1::CreationPolicy_Name(run.profile().creation_policy());
       },
       "CREATION_POLICY_UNSPECIFIED",
       "CREATION_POLICY_REUSE_OR_CREATE",
       "CREATION_POLICY_REUSE_OR_CREATE",
       "CREATION_POLICY_REUSE"},
      {"",
       "resources: {gpu: 1, memory: 16GB}",
       [](auto* flags) { flags->gpu = "A100:2"; },
       [](const auto& run) {
         return fmt::format("{} {}",
                            run.resources().gpu().ShortDebugString(),
                            run.resources().memory().ShortDebugString());
       },
       "vendor: GPU_VENDOR_NVIDIA count { min: 0 } min_bytes: 8589934592",
       "",
       "vendor: GPU_VENDOR_NVIDIA count { min: 1 max: 1 } min_bytes: 17179869184 max_bytes: "
       "17179869184",
       "vendor: GPU_VENDOR_NVIDIA name: \"A100\" count { min: 2 max: 2 } min_bytes: 17179869184 "
       "max_bytes: 17179869184"},
  };
  for (const Row& row : rows) {
    INFO(row.document_key);
    const auto value_of = [&](bool has_profile, bool has_key, bool has_flag) {
      RunConfiguration run = Parse(has_key ? row.document_key : "");
      RunFlags flags;
      if (has_flag) row.set(&flags);
      CHECK(ApplyRunFlags(flags, &run).ok());
      if (has_profile && *row.profile_key != '\0') {
        const auto profiles = config::ParseProfiles(
            fmt::format("profiles: [{{name: p, {}}}]", row.profile_key), "profiles.yml");
        REQUIRE(profiles.ok());
        config::MergeProfile(profiles->profiles(0).params(), &run);
      }
      config::ApplyDefaults(&run);
      return row.value(run);
    };
    CHECK(value_of(false, false, false) == row.by_default);
    if (*row.profile_key != '\0') CHECK(value_of(true, false, false) == row.by_profile);
    CHECK(value_of(true, true, false) == row.by_document);
    CHECK(value_of(true, true, true) == row.by_flag);
    if (*row.profile_key != '\0') CHECK(value_of(true, false, true) == row.by_flag);
  }
}

TEST_CASE("flags that a fleet does not understand are named") {
  RunFlags flags{.name = "n", .env = {"A=1"}};
  CHECK(flags.RunOnlyFlags().empty());
  flags.gpu = "1";
  flags.no_retry = true;
  flags.arguments = {"x"};
  CHECK(flags.RunOnlyFlags() == std::vector<std::string>{"--gpu", "--no-retry", "--"});
}

TEST_CASE("the public key lies beside the private one") {
  testing::TempDir dir;
  const Environment environment;
  const std::string key = dir.Path("id");
  const auto missing = ReadPublicKey(environment, key);
  CHECK_THAT(std::string(base::Message(missing.status())),
             Catch::Contains("--ssh-identity") && Catch::Contains("ssh-keygen -y -f"));
  REQUIRE(base::WriteFileAtomic(key + ".pub", "ssh-ed25519 AAAA me\n").ok());
  CHECK(ReadPublicKey(environment, key).value() == "ssh-ed25519 AAAA me");
  REQUIRE(base::WriteFileAtomic(key + ".pub", "PRIVATE\nKEY\n").ok());
  CHECK_FALSE(ReadPublicKey(environment, key).ok());
}

}  // namespace
}  // namespace dstack::cli
