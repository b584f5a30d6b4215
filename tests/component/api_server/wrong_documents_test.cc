// Documents that no client of ours would send, to the real API: each wrong field comes back with
// the path that it has in the user's file, all of them at once; what is not in the file has the
// path in the request.
#include <algorithm>

#include <google/protobuf/util/json_util.h>

#include "api_fixture.h"

namespace dstack::server {
namespace {

using Strings = std::vector<std::string>;

struct Row {
  const char* name;
  const char* json;  // of the spec
  Strings fields;    // sorted
};

Strings FieldsOf(const absl::Status& status) {
  Strings fields;
  for (const auto& violation : base::FieldViolations(status)) {
    CHECK_FALSE(violation.description.empty());
    fields.push_back(violation.field);
  }
  std::sort(fields.begin(), fields.end());
  return fields;
}

template <typename Spec>
Spec Parse(const char* json) {
  Spec spec;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &spec);
  INFO(status.ToString());
  REQUIRE(status.ok());
  return spec;
}

const std::vector<Row>& WrongRuns() {
  static const std::vector<Row> rows = {
      {"nothing at all", "{}", {"type"}},
      {"no kind", R"({"configuration": {"image": "x"}})", {"type"}},
      {"neither commands nor image", R"({"configuration": {"task": {}}})", {"commands"}},
      {"a kind that is not carried out",
       R"({"configuration": {"dev_environment": {"ide": "IDE_VSCODE"}}})",
       {"type"}},
      {"a name in the document",
       R"({"configuration": {"name": "Foo_Bar", "task": {"commands": ["x"]}}})",
       {"name"}},
      {"a name beside the document",
       R"({"run_name": "Foo_Bar", "configuration": {"task": {"commands": ["x"]}}})",
       {"run_spec.run_name"}},
      {"two names",
       R"({"run_name": "aa", "configuration": {"name": "bb", "task": {"commands": ["x"]}}})",
       {"run_spec.run_name"}},
      {"requirements",
       R"({"configuration": {"task": {"commands": ["x"]}, "resources": {
           "cpu": {"count": {"min": 4, "max": 2}}, "memory": {"min_bytes": 9, "max_bytes": 3},
           "gpu": {"count": {"min": -1}}}}})",
       {"resources.cpu.count", "resources.gpu.count.min", "resources.memory"}},
      {"a vendor without an image",
       R"({"configuration": {"task": {"commands": ["x"]}, "resources": {
           "gpu": {"name": ["MI300X"]}, "cpu": {"arch": "CPU_ARCH_ARM"}}}})",
       {"resources.cpu", "resources.gpu"}},
      {"ports",
       R"({"configuration": {"task": {"commands": ["x"], "ports": [{"container_port": 0},
           {"container_port": 80, "local_port": 70000}]}}})",
       {"ports[0].container_port", "ports[1].local_port"}},
      {"variables",
       R"({"configuration": {"task": {"commands": ["x"]}, "env": [{"name": "A"},
           {"name": "B", "value": "${{ secrets.b }}"}, {"name": "C", "value": "${{ env.B }}"}]}})",
       {"env[0]", "env[1]", "env[2]"}},
      {"addresses of nodes",
       R"({"configuration": {"task": {"commands": ["x", "${{ groups[0].nodes[1].IP_ADDRESS }}"]}}})",
       {"commands[1]"}},
      {"scheduling",
       R"({"configuration": {"task": {"commands": ["x"]}, "priority": 700, "profile": {
           "max_price": -1, "retry": {"enabled": true, "duration": "-5s"},
           "host_lost_after": "1s", "backends": ["nowhere"]}}})",
       {"backends[0]", "host_lost_after", "max_price", "priority", "retry.duration"}},
      {"scheduling in a profile",
       R"({"configuration": {"task": {"commands": ["x"]}}, "profile": {"name": "p", "params": {
           "max_price": -1}}})",
       {"max_price"}},
      {"what this server does not carry out",
       R"({"configuration": {"task": {"commands": ["x"], "nodes": 2}, "python": "3.12",
           "dstack": true, "profile": {"schedule": {"cron": ["* * * * *"]},
           "utilization_policy": {"min_gpu_utilization": 5, "time_window": "600s"}}}})",
       {"dstack", "nodes", "python", "schedule", "utilization_policy"}},
      {"mounts",
       R"({"configuration": {"task": {"commands": ["x"]}, "volumes": [
           {"instance": {"instance_path": "rel", "path": "/a"}},
           {"network": {"names": ["v"], "path": "/b"}}]}})",
       {"volumes[0].instance_path", "volumes[1]"}},
      {"words of the process",
       R"({"configuration": {"task": {"commands": ["x"]}, "image": "-x", "user": ":",
           "shell": "zsh", "working_dir": "rel", "entrypoint": "a 'b"}})",
       {"entrypoint", "image", "shell", "user", "working_dir"}},
      {"a retry event from the future",
       R"({"configuration": {"task": {"commands": ["x"]}, "profile": {"retry": {"enabled": true,
           "on_events": [77]}}}})",
       {"retry.on_events[0]"}},
      {"what clients add",
       R"({"configuration": {"task": {"commands": ["x"]}}, "ssh_public_key": "a\nb",
           "files": [{"digest": "zz"}]})",
       {"run_spec.files[0].digest", "run_spec.files[0].path", "run_spec.ssh_public_key"}},
  };
  return rows;
}

TEST_CASE("wrong fields of a run have the paths of the user's file") {
  ApiFixture api;
  for (const Row& row : WrongRuns()) {
    const auto spec = Parse<api::v1::RunSpec>(row.json);
    api::v1::PlanRunRequest plan;
    plan.set_project_name("main");
    *plan.mutable_run_spec() = spec;
    const absl::Status planned =
        api.Call(api.runs, &api::v1::RunService::Stub::PlanRun, plan).status();
    INFO(row.name << ": " << planned);
    CHECK(base::Reason(planned) == "INVALID_FIELDS");
    CHECK(FieldsOf(planned) == row.fields);
    CHECK(FieldsOf(api.Apply(spec).status()) == row.fields);
  }
}

const std::vector<Row>& WrongFleets() {
  static const std::vector<Row> rows = {
      {"nothing at all", "{}", {"nodes", "ssh_config"}},
      {"cloud nodes", R"({"configuration": {"nodes": {"min": 1}}})", {"ssh_config"}},
      {"parameters of cloud fleets",
       R"({"configuration": {"nodes": {"min": 1}, "resources": {"cpu": {"count": {"min": 1}}},
           "profile": {"max_price": 2, "spot_policy": "SPOT_POLICY_SPOT", "regions": ["eu"]},
           "ssh_config": {"user": "ann", "identity_file": "k", "hosts": [{"hostname": "a"}]}}})",
       {"max_price", "nodes", "regions", "resources", "spot_policy"}},
      {"a name",
       R"({"configuration": {"name": "X", "ssh_config": {"user": "ann",
           "identity_file": "k", "hosts": [{"hostname": "a"}]}}})",
       {"name"}},
      {"hosts",
       R"({"configuration": {"blocks": {"count": 0}, "ssh_config": {"identity_file": "k", "hosts": [
           {"hostname": "-oX"}, {"hostname": "b", "user": "u", "port": 70000},
           {"hostname": "c", "user": "u", "blocks": {"count": -1},
            "proxy_jump": {"hostname": "", "user": "u", "identity_file": "k"}}]}}})",
       {"blocks",
        "ssh_config.hosts[0].hostname",
        "ssh_config.hosts[0].user",
        "ssh_config.hosts[1].port",
        "ssh_config.hosts[2].blocks",
        "ssh_config.hosts[2].proxy_jump.hostname"}},
      {"variables",
       R"({"configuration": {"ssh_config": {"user": "ann", "identity_file": "k", "hosts": [
           {"hostname": "a"}]}, "env": [{"name": "A"}]}})",
       {"env[0]"}},
  };
  return rows;
}

TEST_CASE("wrong fields of a fleet have the paths of the user's file") {
  ApiFixture api;
  const std::string key = ssh::GenerateKeyPair("test")->private_key.Reveal();
  for (const Row& row : WrongFleets()) {
    auto spec = Parse<api::v1::FleetSpec>(row.json);
    (*spec.mutable_ssh_keys())["k"] = key;
    api::v1::PlanFleetRequest plan;
    plan.set_project_name("main");
    *plan.mutable_fleet_spec() = spec;
    const absl::Status planned =
        api.Call(api.fleets, &api::v1::FleetService::Stub::PlanFleet, plan).status();
    INFO(row.name << ": " << planned);
    CHECK(base::Reason(planned) == "INVALID_FIELDS");
    CHECK(FieldsOf(planned) == row.fields);
    CHECK(FieldsOf(api.ApplyFleet(spec).status()) == row.fields);
  }
}

}  // namespace
}  // namespace dstack::server
