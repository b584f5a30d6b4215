#include "services/server/options.h"

#include <map>

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using Environment = std::map<std::string, std::string>;

ParsedOptions Parse(const std::vector<std::string>& arguments,
                    const Environment& environment = {{"HOME", "/home/ann"}}) {
  return ParseOptions(arguments, [&](const std::string& name) -> std::optional<std::string> {
    const auto it = environment.find(name);
    if (it == environment.end()) return std::nullopt;
    return it->second;
  });
}

TEST_CASE("defaults, then the environment, then flags") {
  auto parsed = Parse({});
  REQUIRE(parsed.options.has_value());
  CHECK(parsed.options->host == "127.0.0.1");
  CHECK(parsed.options->port == 3000);
  CHECK(parsed.options->home == "/home/ann/.dstack/server");
  CHECK(parsed.options->client_home == "/home/ann/.dstack");
  CHECK(parsed.options->host_lost_after == std::chrono::minutes(15));
  CHECK(parsed.options->client_update == ClientUpdate::kAsk);

  const Environment environment = {{"HOME", "/home/ann"},
                                   {"DSTACK_SERVER_PORT", "4000"},
                                   {"DSTACK_SERVER_DIR", "/srv/dstack"},
                                   {"DSTACK_DATABASE_URL", "postgresql://db/x"},
                                   {"DSTACK_SERVER_ADMIN_TOKEN", "from-environment"},
                                   {"DSTACK_SERVER_LOG_LEVEL", "WARNING"}};
  parsed = Parse({"--port", "5000", "--host-lost-after", "90s", "-y", "--local-host"}, environment);
  REQUIRE(parsed.options.has_value());
  CHECK(parsed.options->port == 5000);
  CHECK(parsed.options->home == "/srv/dstack");
  CHECK(parsed.options->database_url == "postgresql://db/x");
  CHECK(parsed.options->admin_token.Reveal() == "from-environment");
  CHECK(parsed.options->host_lost_after == std::chrono::seconds(90));
  CHECK(parsed.options->client_update == ClientUpdate::kYes);
  CHECK(parsed.options->has_local_host);
  CHECK(Parse({}, environment).options->port == 4000);
}

TEST_CASE("migrate is a command of its own") {
  const auto parsed = Parse({"migrate", "--database-url", "postgresql://db/x"});
  REQUIRE(parsed.options.has_value());
  CHECK(parsed.options->command == Options::Command::kMigrate);
  CHECK(parsed.options->database_url == "postgresql://db/x");
}

TEST_CASE("wrong values name the flag and the rule") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> rows = {
      {{"--port", "70000"}, "0 to 65535"},
      {{"--port", "abc"}, "--port"},
      {{"--token", "short"}, "at least 8"},
      {{"--token", "two words"}, "no blanks"},
      {{"--log-level", "loud"}, "--log-level"},
      {{"--log-format", "xml"}, "text or json"},
      {{"--host-lost-after", "5s"}, "--host-lost-after"},
      {{"-y", "-n"}, "exclude"},
      {{"--nonsense"}, "--nonsense"},
      {{"extra"}, "extra"},
  };
  for (const auto& [arguments, expected] : rows) {
    const auto parsed = Parse(arguments);
    INFO(arguments[0]);
    CHECK_FALSE(parsed.options.has_value());
    CHECK(parsed.exit_status == 2);
    CHECK_THAT(parsed.text, Catch::Contains(expected));
  }
  CHECK_THAT(Parse({}, {}).text, Catch::Contains("HOME"));
}

TEST_CASE("what is old is kept for as long as the environment says") {
  const auto parsed = Parse({},
                            {{"HOME", "/home/ann"},
                             {"DSTACK_SERVER_EVENTS_TTL_SECONDS", "0"},
                             {"DSTACK_SERVER_METRICS_RUNNING_TTL_SECONDS", "600"}});
  REQUIRE(parsed.options.has_value());
  CHECK(parsed.options->retention.events == std::chrono::seconds(0));
  CHECK(parsed.options->retention.usage_running == std::chrono::seconds(600));
  CHECK(parsed.options->retention.logs == std::chrono::hours(24 * 30));
  for (const char* wrong : {"-1", "1h", "99999999999"}) {
    const auto refused =
        Parse({}, {{"HOME", "/home/ann"}, {"DSTACK_SERVER_LOGS_TTL_SECONDS", wrong}});
    CHECK(refused.exit_status == 2);
    CHECK_THAT(refused.text,
               Catch::Contains("DSTACK_SERVER_LOGS_TTL_SECONDS") && Catch::Contains(wrong));
  }
}

TEST_CASE("help and version are no errors") {
  CHECK(Parse({"--help"}).exit_status == 0);
  CHECK_THAT(Parse({"--help"}).text, Catch::Contains("--local-host"));
  CHECK(Parse({"--version"}).exit_status == 0);
}

}  // namespace
}  // namespace dstack::server
