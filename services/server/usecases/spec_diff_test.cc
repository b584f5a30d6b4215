#include "services/server/usecases/spec_diff.h"

#include <algorithm>
#include <functional>

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

using Strings = std::vector<std::string>;

api::v1::RunSpec Task() {
  api::v1::RunSpec spec;
  spec.mutable_configuration()->mutable_task()->add_commands("true");
  spec.mutable_configuration()->set_image("busybox");
  return spec;
}

config::v1::Resources& Resources(api::v1::RunSpec& spec) {
  return *spec.mutable_configuration()->mutable_resources();
}

// "path: current -> wanted"
Strings Lines(const std::vector<SpecChange>& changes) {
  Strings lines;
  for (const SpecChange& change : changes) {
    lines.push_back(change.path + ":" + (change.current.empty() ? "" : " " + change.current) +
                    " ->" + (change.wanted.empty() ? "" : " " + change.wanted));
  }
  return lines;
}

config::v1::EnvVar Variable(const char* name, const char* value) {
  config::v1::EnvVar variable;
  variable.set_name(name);
  variable.set_value(value);
  return variable;
}

TEST_CASE("changes of a run are named as the user wrote them") {
  struct Row {
    std::function<void(api::v1::RunSpec&)> change;
    Strings fields;
    bool is_updatable;
  };
  const std::vector<Row> rows = {
      {[](auto&) {}, {}, true},
      {[](auto& spec) { spec.mutable_configuration()->set_priority(3); }, {"priority"}, true},
      {[](auto& spec) { spec.set_configuration_path("b.yml"); }, {"configuration_path"}, true},
      {[](auto& spec) { spec.mutable_configuration()->mutable_task()->add_commands("x"); },
       {"commands"},
       false},
      {[](auto& spec) { spec.mutable_configuration()->mutable_profile()->set_max_price(2); },
       {"max_price"},
       false},
      {[](auto& spec) { spec.mutable_configuration()->mutable_dev_environment(); },
       {"type"},
       false},
      {[](auto& spec) {
         spec.mutable_configuration()->set_image("alpine");
         spec.mutable_configuration()->set_priority(1);
       },
       {"image", "priority"},
       false},
      {[](auto& spec) { spec.add_files()->set_digest("d"); }, {"files"}, false},
      {[](auto& spec) { Resources(spec).mutable_memory()->set_min_bytes(1 << 30); },
       {"resources.memory"},
       false},
      {[](auto& spec) { Resources(spec).mutable_cpu()->set_arch(config::v1::CPU_ARCH_ARM); },
       {"resources.cpu.arch"},
       false},
      {[](auto& spec) { spec.set_ssh_public_key("k"); }, {"ssh_public_key"}, false},
  };
  for (const Row& row : rows) {
    api::v1::RunSpec wanted = Task();
    row.change(wanted);
    const auto changed = CompareSpecs(Task(), wanted);
    CHECK(FieldsOf(changed) == row.fields);
    CHECK(IsUpdatable(wanted, changed) == row.is_updatable);
  }
}

TEST_CASE("changes tell the values as a user writes them") {
  api::v1::RunSpec a = Task();
  api::v1::RunSpec b = Task();
  auto& before = *a.mutable_configuration();
  auto& after = *b.mutable_configuration();
  *before.add_env() = Variable("KEPT", "1");
  *before.add_env() = Variable("TOKEN", "old");
  *after.add_env() = Variable("TOKEN", "new");
  *after.add_env() = Variable("KEPT", "1");
  *after.add_env() = Variable("ADDED", "x");
  after.mutable_task()->set_commands(0, "false");
  after.mutable_task()->add_commands("echo done");
  before.mutable_resources()->mutable_memory()->set_min_bytes(8ULL << 30);
  after.mutable_resources()->mutable_memory()->set_min_bytes(16ULL << 30);
  after.mutable_resources()->mutable_gpu()->add_name("A100");
  after.mutable_resources()->mutable_gpu()->mutable_count()->set_min(2);
  before.mutable_resources()->mutable_cpu()->set_arch(config::v1::CPU_ARCH_X86);
  after.mutable_profile()->mutable_max_duration()->mutable_duration()->set_seconds(7200);
  after.mutable_profile()->set_spot_policy(config::v1::SPOT_POLICY_AUTO);
  before.mutable_registry_auth()->set_username("ann");
  before.mutable_registry_auth()->set_password("secret");
  after.mutable_registry_auth()->set_username("bob");
  after.mutable_registry_auth()->set_password("other");
  Strings lines = Lines(CompareSpecs(a, b));
  std::sort(lines.begin(), lines.end());
  CHECK(lines == Strings{"commands[0]: true -> false",
                         "commands[1]: -> echo done",
                         "env.ADDED: -> ***",
                         "env.TOKEN: *** -> ***",
                         "max_duration: -> 2h",
                         "registry_auth.password: *** -> ***",
                         "registry_auth.username: ann -> bob",
                         "resources.cpu.arch: x86 ->",
                         "resources.gpu: -> A100:2..",
                         "resources.memory: 8GB.. -> 16GB..",
                         "spot_policy: -> auto"});
}

TEST_CASE("a kind that changes is one change") {
  api::v1::RunSpec wanted = Task();
  wanted.mutable_configuration()->mutable_dev_environment();
  CHECK(Lines(CompareSpecs(Task(), wanted)) == Strings{"type: task -> dev-environment"});
}

TEST_CASE("an architecture that is not asked for any more changes in place") {
  api::v1::RunSpec current = Task();
  Resources(current).mutable_cpu()->set_arch(config::v1::CPU_ARCH_X86);
  CHECK(IsUpdatable(Task(), CompareSpecs(current, Task())));
}

TEST_CASE("a long text is cut between characters") {
  api::v1::RunSpec wanted = Task();
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\u00e4\n";
  wanted.mutable_configuration()->mutable_task()->set_commands(0, text);
  const auto changes = CompareSpecs(Task(), wanted);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].wanted.size() <= 84);
  CHECK(changes[0].wanted.find('\n') == std::string::npos);
}

TEST_CASE("files are the same when their content and destination are") {
  api::v1::RunSpec a = Task();
  api::v1::RunSpec b = Task();
  for (auto* spec : {&a, &b}) {
    auto* file = spec->add_files();
    file->set_digest("d");
    file->set_path("/x");
  }
  a.mutable_configuration()->add_files()->set_local_path("/home/ann/x");
  b.mutable_configuration()->add_files()->set_local_path("/home/bob/x");
  CHECK(CompareSpecs(a, b).empty());
}

TEST_CASE("a development environment may change how long it idles") {
  api::v1::RunSpec a;
  a.mutable_configuration()->mutable_dev_environment();
  api::v1::RunSpec b = a;
  b.mutable_configuration()->mutable_dev_environment()->mutable_inactivity_duration()->set_seconds(
      60);
  const auto changed = CompareSpecs(a, b);
  CHECK(FieldsOf(changed) == Strings{"inactivity_duration"});
  CHECK(IsUpdatable(b, changed));
}

api::v1::FleetSpec Fleet(const Strings& hosts) {
  api::v1::FleetSpec spec;
  auto& ssh = *spec.mutable_configuration()->mutable_ssh_config();
  ssh.set_user("ubuntu");
  for (const std::string& host : hosts) ssh.add_hosts()->set_hostname(host);
  return spec;
}

TEST_CASE("other code is a change, other credentials are none") {
  api::v1::RunSpec current = Task();
  current.mutable_configuration()->add_repos()->set_local_path(".");
  auto& repo = *current.mutable_repo();
  repo.set_clone_url("https://h/o/r");
  repo.set_branch("main");
  repo.set_hash("0123456789abcdef");
  api::v1::RunSpec wanted = current;
  wanted.mutable_repo()->set_oauth_token("secret");
  CHECK(CompareSpecs(current, wanted).empty());
  wanted.mutable_repo()->set_hash("fedcba9876543210");
  wanted.mutable_repo()->set_diff_digest("aaaaaaaaaaaaaaaa");
  const auto changed = CompareSpecs(current, wanted);
  CHECK(Lines(changed) == Strings{"repo: https://h/o/r main 0123456789ab -> "
                                  "https://h/o/r main fedcba987654 aaaaaaaaaaaa"});
  CHECK_FALSE(IsUpdatable(wanted, changed));
  wanted.mutable_repo()->set_clone_url("https://h/o/other");
  for (const SpecChange& change : CompareSpecs(current, wanted)) {
    CHECK(change.field == "repo");
    CHECK(change.wanted.find("secret") == std::string::npos);
  }
}

TEST_CASE("hosts of a fleet come and go in place, in any order") {
  CHECK(CompareSpecs(Fleet({"a", "b"}), Fleet({"b", "a"})).empty());
  const auto hosts = CompareSpecs(Fleet({"a", "b"}), Fleet({"b", "c"}));
  CHECK(FieldsOf(hosts) == Strings{"ssh_config.hosts"});
  CHECK(Lines(hosts) == Strings{"ssh_config.hosts: a ->", "ssh_config.hosts: -> c"});
  CHECK(IsUpdatable(hosts));
  auto other = Fleet({"a", "b"});
  other.mutable_configuration()->mutable_ssh_config()->set_user("root");
  other.mutable_configuration()->mutable_blocks()->set_count(2);
  const auto changed = CompareSpecs(Fleet({"a", "b"}), other);
  CHECK(FieldsOf(changed) == Strings{"blocks", "ssh_config.user"});
  CHECK_FALSE(IsUpdatable(changed));
  auto edited = Fleet({"a", "b"});
  edited.mutable_configuration()->mutable_ssh_config()->mutable_hosts(1)->set_user("root");
  CHECK(Lines(CompareSpecs(Fleet({"a", "b"}), edited)) ==
        Strings{"ssh_config.hosts[b].user: -> root"});
}

}  // namespace
}  // namespace dstack::server
