#include "libs/config/document.h"

#include <string>
#include <variant>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::config {
namespace {

std::string Message(const std::string& text) {
  const absl::StatusOr<Document> document = ParseDocument(text, "t.yml");
  CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(document.status().message());
}

v1::RunConfiguration Run(const std::string& text) {
  const absl::StatusOr<Document> document = ParseDocument(text, "t.yml");
  INFO(document.status());
  REQUIRE(document.ok());
  return std::get<v1::RunConfiguration>(document->configuration);
}

TEST_CASE("an unknown key is shown with its line and the nearest known key") {
  CHECK(Message("type: task\ncommand:\n  - echo\nimage: x\n") ==
        "t.yml:2:1: command: is not a known key here\n"
        "  2 | command:\n"
        "    | ^ did you mean `commands`?");
}

TEST_CASE("all problems of a document come together, in its order") {
  const absl::StatusOr<Document> document = ParseDocument(
      "type: task\n"
      "nodes: 0\n"
      "resources:\n"
      "  gpu: A100:A100\n"
      "  cpus: 3\n"
      "ports: [70000]\n"
      "commands: echo\n",
      "t.yml");
  std::vector<std::string> fields;
  for (const auto& violation : base::FieldViolations(document.status())) {
    fields.push_back(violation.field);
  }
  CHECK(fields == std::vector<std::string>{
                      "nodes", "resources.gpu", "resources.cpus", "ports[0]", "commands"});
  CHECK(base::Reason(document.status()) == "INVALID_FIELDS");
  const std::string message(document.status().message());
  CHECK(message.find("t.yml:2:8: nodes: must be at least 1 (`0`)") != std::string::npos);
  CHECK(message.find("did you mean `cpu`?") != std::string::npos);
}

TEST_CASE("a pair that YAML 1.1 takes for a number in base 60 is read as written, with a warning") {
  const absl::StatusOr<Document> document =
      ParseDocument("type: task\nimage: x\nports:\n- 8080:22\nmax_duration: 1:30\n", "t.yml");
  REQUIRE(document.ok());
  const auto& run = std::get<v1::RunConfiguration>(document->configuration);
  CHECK(run.task().ports(0).local_port() == 8080);
  CHECK(run.task().ports(0).container_port() == 22);
  // A number stays one.
  CHECK(run.profile().max_duration().duration().seconds() == 90);
  REQUIRE(document->warnings.size() == 2);
  CHECK(FormatProblem(document->warnings[0]) ==
        "t.yml:4:3: ports[0]: is read as written; put it in quotes, since to YAML 1.1 it is the "
        "number 484822: \"8080:22\" (`8080:22`)");
}

TEST_CASE("what surely is a mistake but means something is accepted with a warning") {
  const absl::StatusOr<Document> word =
      ParseDocument("type: task\nimage: x\nresources: {gpu: true}\n", "t.yml");
  REQUIRE(word.ok());
  REQUIRE(word->warnings.size() == 1);
  CHECK(word->warnings[0].rule.find("model called `True`") != std::string::npos);
  const absl::StatusOr<Document> none =
      ParseDocument("type: task\nimage: x\nresources: {gpu: {name: []}}\n", "t.yml");
  REQUIRE(none.ok());
  REQUIRE(none->warnings.size() == 1);
  CHECK(none->warnings[0].rule.find("no GPU matches") != std::string::npos);
}

TEST_CASE("a missing field is placed where it belongs") {
  CHECK(Message("type: service\ncommands: [x]\n") ==
        "t.yml:1:1: port: is required\n  1 | type: service\n    | ^ write `port: 8000`, with the "
        "port "
        "that your program listens on");
  CHECK(Message("image: x\n").find("type: is required") != std::string::npos);
  CHECK(Message("type: tasks\n").find("did you mean `task`?") != std::string::npos);
  CHECK(Message("type: volume\n").find("backend: is required") != std::string::npos);
  CHECK(Message("").find("must be a mapping, not empty") != std::string::npos);
}

TEST_CASE("no error shows a secret") {
  for (const std::string text :
       {"type: task\nimage: x\nenv:\n- 1A=hunter2\n",
        "type: task\nimage: x\nenv: {A: [hunter2]}\n",
        "type: task\nimage: x\nregistry_auth: {username: u, password: [hunter2]}\n",
        "type: task\nimage: x\nenv: [\"A=hunter2\\nhunter2\"]\n",
        "type: task\nimage: x\nenv: [A=hunter2, A=hunter2]\n",
        "type: task\nimage: x\nregistry_auth: {password: hunter2}\n"}) {
    INFO(text);
    CHECK(Message(text).find("hunter2") == std::string::npos);
  }
  const absl::StatusOr<v1::ClientConfig> config =
      ParseClientConfig("projects: [{name: p, url: u, token: [hunter2]}]", "config.yml");
  CHECK(config.status().message().find("hunter2") == absl::string_view::npos);
  // What is wrong stands beside the secret, in one line.
  for (const std::string backend :
       {"{type: aws, creds: {type: access_key, secret_key: hunter2}}",
        "{type: runpod, creds: {type: access_key, api_key: hunter2}}",
        "{type: gcp, project_id: p, creds: {type: service_account, pass_phrase: hunter2}}"}) {
    const absl::StatusOr<v1::ServerConfig> server =
        ParseServerConfig("projects: [{name: p, backends: [" + backend + "]}]", "config.yml");
    REQUIRE_FALSE(server.ok());
    CHECK(server.status().message().find("hunter2") == absl::string_view::npos);
  }
}

TEST_CASE("keys of another kind of run are unknown") {
  CHECK(Message("type: dev-environment\ncommands: [x]\n").find("commands: is not a known key") !=
        std::string::npos);
  CHECK(Message("type: dev-environment\nnodes: 2\n").find("nodes: is not a known key") !=
        std::string::npos);
}

TEST_CASE("a list that is emptied on purpose is told from one that is left out") {
  const v1::RunConfiguration run = Run("type: task\nimage: x\nbackends: []\ntags: {}\n");
  CHECK(run.profile().cleared_fields_size() == 2);
  CHECK(Run("type: service\nport: 80\nimage: x\nprobes: []\n").service().probes_disabled());
  CHECK(!Run("type: service\nport: 80\nimage: x\n").service().probes_disabled());
}

TEST_CASE("duplicate keys are warned about") {
  const absl::StatusOr<Document> document =
      ParseDocument("type: task\nimage: x\nimage: y\n", "t.yml");
  REQUIRE(document.ok());
  CHECK(document->warnings.size() == 1);
  CHECK(std::get<v1::RunConfiguration>(document->configuration).image() == "y");
}

TEST_CASE("what is accepted but hardly meant is warned about") {
  const absl::StatusOr<Document> document =
      ParseDocument("type: task\nimage: x\nnvcc: true\nports: [22:22]\n", "t.yml");
  REQUIRE(document.ok());
  REQUIRE(document->warnings.size() == 2);
  CHECK(FormatProblem(document->warnings[0]).find("t.yml:4:9: ports[0]: is read as written") == 0);
  CHECK(document->warnings[1].path == "nvcc");
}

TEST_CASE("a complete task is read into its message") {
  const v1::RunConfiguration run = Run(R"(
type: task
name: train
image: pytorch/pytorch
env:
  - HF_TOKEN
  - EPOCHS=3
commands:
  - pip install -r requirements.txt
  - python train.py ${{ run.args }}
ports: ["8080:80", 6006]
nodes: 2
resources: {gpu: "A100:80GB:2", memory: 64GB.., shm_size: 16GB, disk: 200GB..}
volumes: ["data:/data", "/mnt/cache:/cache"]
retry: {on_events: [no-capacity], duration: 2h}
max_duration: off
stop_duration: 30s
fleets: [gpu, shared/big]
)");
  CHECK(run.task().nodes() == 2);
  CHECK(!run.env(0).has_value());
  CHECK(run.env(1).value() == "3");
  CHECK(run.resources().gpu().memory().min_bytes() == 80ULL << 30);
  CHECK(run.resources().shm_size_bytes() == 16ULL << 30);
  CHECK(run.volumes(1).instance().instance_path() == "/mnt/cache");
  CHECK(run.profile().retry().on_events(0) == v1::RETRY_EVENT_NO_CAPACITY);
  CHECK(run.profile().max_duration().off());
  CHECK(run.profile().stop_duration().duration().seconds() == 30);
  CHECK(run.profile().fleets(1).project() == "shared");
  CHECK(run.task().ports(0).local_port() == 8080);
}

TEST_CASE("a client configuration survives printing and reading") {
  v1::ClientConfig config;
  v1::ClientProject* project = config.add_projects();
  project->set_name("main");
  project->set_url("http://127.0.0.1:3000");
  project->set_token("on: \"quoted\" # \xC3\xA4");
  project->set_is_default(true);
  const absl::StatusOr<v1::ClientConfig> read =
      ParseClientConfig(PrintClientConfig(config), "config.yml");
  INFO(read.status());
  REQUIRE(read.ok());
  CHECK(read->SerializeAsString() == config.SerializeAsString());
  CHECK(ParseClientConfig("", "config.yml")->projects_size() == 0);
  CHECK(ParseClientConfig("repos: [x]\nprojects: []\n", "config.yml").ok());
  CHECK(!ParseClientConfig("projects: [{name: p}]", "config.yml").ok());
}

TEST_CASE("profiles are read with their parameters") {
  const absl::StatusOr<v1::ProfilesFile> file = ParseProfiles(
      "profiles:\n- name: big\n  max_price: 10\n- name: spot\n  default: true\n  spot_policy: "
      "spot\n",
      "profiles.yml");
  REQUIRE(file.ok());
  CHECK(file->profiles(0).params().max_price() == 10);
  CHECK(file->profiles(1).is_default());
}

}  // namespace
}  // namespace dstack::config
