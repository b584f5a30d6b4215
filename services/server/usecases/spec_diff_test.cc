#include "services/server/usecases/spec_diff.h"

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
      {[](auto& spec) { spec.set_ssh_public_key("k"); }, {"ssh_public_key"}, false},
  };
  for (const Row& row : rows) {
    api::v1::RunSpec wanted = Task();
    row.change(wanted);
    const Strings changed = ChangedFields(Task(), wanted);
    CHECK(changed == row.fields);
    CHECK(IsUpdatable(wanted, changed) == row.is_updatable);
  }
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
  CHECK(ChangedFields(a, b).empty());
}

TEST_CASE("a development environment may change how long it idles") {
  api::v1::RunSpec a;
  a.mutable_configuration()->mutable_dev_environment();
  api::v1::RunSpec b = a;
  b.mutable_configuration()->mutable_dev_environment()->mutable_inactivity_duration()->set_seconds(
      60);
  const Strings changed = ChangedFields(a, b);
  CHECK(changed == Strings{"inactivity_duration"});
  CHECK(IsUpdatable(b, changed));
}

api::v1::FleetSpec Fleet(const Strings& hosts) {
  api::v1::FleetSpec spec;
  auto& ssh = *spec.mutable_configuration()->mutable_ssh_config();
  ssh.set_user("ubuntu");
  for (const std::string& host : hosts) ssh.add_hosts()->set_hostname(host);
  return spec;
}

TEST_CASE("hosts of a fleet come and go in place, in any order") {
  CHECK(ChangedFields(Fleet({"a", "b"}), Fleet({"b", "a"})).empty());
  const Strings hosts = ChangedFields(Fleet({"a", "b"}), Fleet({"b", "c"}));
  CHECK(hosts == Strings{"ssh_config.hosts"});
  CHECK(IsUpdatable(hosts));
  auto other = Fleet({"a", "b"});
  other.mutable_configuration()->mutable_ssh_config()->set_user("root");
  other.mutable_configuration()->mutable_blocks()->set_count(2);
  const Strings changed = ChangedFields(Fleet({"a", "b"}), other);
  CHECK(changed == Strings{"blocks", "ssh_config.user"});
  CHECK_FALSE(IsUpdatable(changed));
}

}  // namespace
}  // namespace dstack::server
