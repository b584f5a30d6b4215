// The API as somebody sees it who has nothing but the address: reflection, calls and errors through
// `buf curl`.
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <absl/strings/escaping.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/paths.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using testing::MiniCluster;

std::string BufPath() { return testing::SourceDir() + "/build/tools/node_modules/.bin/buf"; }

// False after Skip(): the machine has neither buf nor what installs it.
bool HasBuf() {
  if (base::Exists(BufPath())) return true;
  const auto installed =
      process::Run({testing::SourceDir() + "/tests/tools/install.sh", "generators"}, 600s);
  if (base::Exists(BufPath())) return true;
  testing::Skip("buf is missing: " +
                (installed.ok() ? installed->stderr_text : installed.status().ToString()));
  return false;
}

// A server without hosts, and buf as its client.
class Buf {
 public:
  explicit Buf(const MiniCluster& cluster) : url_(cluster.url()) {
    token_ = base::ReadFile(cluster.server_home() + "/admin_token").value_or("");
    while (!token_.empty() && token_.back() == '\n') token_.pop_back();
  }

  process::RunResult Curl(const std::vector<std::string>& more, const std::string& path) const {
    std::vector<std::string> argv{
        BufPath(), "curl", "--http2-prior-knowledge", "--protocol", "grpc"};
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back(url_ + path);
    const auto result = process::Run(argv, 60s);
    REQUIRE(result.ok());
    return *result;
  }
  process::RunResult Call(const std::string& method, const std::string& body) const {
    return Curl({"--header", "Authorization: Bearer " + token_, "--data", body}, "/" + method);
  }
  // The error of a call that has to fail, as JSON.
  nlohmann::json Error(const std::string& method, const std::string& body) const {
    const process::RunResult result = Call(method, body);
    INFO(result.stdout_text << result.stderr_text);
    REQUIRE(result.exit.code != 0);
    return nlohmann::json::parse(result.stderr_text);
  }

 private:
  std::string url_;
  std::string token_;
};

// The bytes of the detail of this type; nothing when there is none.
std::optional<std::string> Detail(const nlohmann::json& error, const std::string& type) {
  for (const nlohmann::json& detail : error.value("details", nlohmann::json::array())) {
    if (detail.at("type") != type) continue;
    std::string bytes;
    // buf leaves the padding out.
    std::string text = detail.at("value");
    while (text.size() % 4 != 0) text += '=';
    REQUIRE(absl::Base64Unescape(text, &bytes));
    return bytes;
  }
  return std::nullopt;
}

void EverythingIsDescribed(const Buf& buf) {
  const std::string services = buf.Curl({"--list-services"}, "").stdout_text;
  const std::string methods = buf.Curl({"--list-methods"}, "").stdout_text;
  for (const char* name :
       {"File", "Fleet", "Instance", "Log", "Metrics", "Project", "Run", "Server", "User"}) {
    CHECK_THAT(services, Contains(std::string("dstack.api.v1.") + name + "Service\n"));
    CHECK_THAT(methods, Contains(std::string("dstack.api.v1.") + name + "Service/"));
  }
  CHECK_THAT(services, Contains("grpc.health.v1.Health\n"));
}

void EveryServiceAnswers(const Buf& buf) {
  const std::string in_main = R"({"project_name": "main"})";
  const std::pair<const char*, std::string> calls[] = {
      {"dstack.api.v1.FileService/FindMissingFiles",
       R"({"digests": [")" + std::string(64, 'a') + R"("]})"},
      {"dstack.api.v1.FleetService/ListFleets", in_main},
      {"dstack.api.v1.InstanceService/ListInstances", in_main},
      {"dstack.api.v1.ProjectService/ListProjects", "{}"},
      {"dstack.api.v1.RunService/ListRuns", in_main},
      {"dstack.api.v1.ServerService/GetServerInfo", "{}"},
      {"dstack.api.v1.UserService/GetMyUser", "{}"},
      {"grpc.health.v1.Health/Check", "{}"}};
  for (const auto& [method, body] : calls) {
    const process::RunResult result = buf.Call(method, body);
    INFO(method << ": " << result.stderr_text);
    CHECK(result.exit.code == 0);
    CHECK(nlohmann::json::accept(result.stdout_text));
  }
  const nlohmann::json missing = buf.Error("dstack.api.v1.LogService/StreamLogs",
                                           R"({"project_name": "main", "run_name": "nope"})");
  CHECK(missing.at("code") == "not_found");
}

void ErrorsSayWhatIsWrong(const Buf& buf) {
  const nlohmann::json invalid = buf.Error(
      "dstack.api.v1.RunService/PlanRun",
      R"({"project_name": "main", "run_spec": {"run_name": "A B", "configuration": {"task": {}, "image": "x"}}})");
  CHECK(invalid.at("code") == "invalid_argument");
  CHECK(Detail(invalid, "google.rpc.ErrorInfo").has_value());
  const auto fields = Detail(invalid, "google.rpc.BadRequest");
  REQUIRE(fields.has_value());
  CHECK_THAT(*fields, Contains("name"));

  const nlohmann::json unknown = buf.Error("dstack.api.v1.RunService/GetRun",
                                           R"({"project_name": "main", "run_name": "nope"})");
  CHECK(unknown.at("code") == "not_found");
  CHECK_THAT(Detail(unknown, "google.rpc.ErrorInfo").value_or(""), Contains("RUN_NOT_FOUND"));
  CHECK_THAT(Detail(unknown, "google.rpc.ResourceInfo").value_or(""), Contains("nope"));

  const process::RunResult anonymous =
      buf.Curl({"--data", "{}"}, "/dstack.api.v1.ProjectService/ListProjects");
  CHECK(nlohmann::json::parse(anonymous.stderr_text).at("code") == "unauthenticated");
}

TEST_CASE("the API from outside") {
  if (!HasBuf()) return;
  static const auto cluster =
      MiniCluster::Start({.runtime = MiniCluster::Runtime::kProcess, .has_local_host = false});
  if (!cluster) return;
  const Buf buf(*cluster);
  SECTION("reflection describes everything, without a token") { EverythingIsDescribed(buf); }
  SECTION("every service answers") { EveryServiceAnswers(buf); }
  SECTION("errors carry code, reason and fields") { ErrorsSayWhatIsWrong(buf); }
}

}  // namespace
}  // namespace dstack
