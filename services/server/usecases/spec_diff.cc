#include "services/server/usecases/spec_diff.h"

#include <algorithm>
#include <set>

#include "dstack/config/v1/yaml_options.pb.h"

#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"

namespace dstack::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

constexpr const char* kHosts = "ssh_config.hosts";

// Name of a field in the user's document.
std::string KeyOf(const FieldDescriptor& field) {
  const auto& rules = field.options().GetExtension(config::v1::yaml);
  return rules.key().empty() ? field.name() : rules.key();
}

bool IsInline(const FieldDescriptor& field) {
  return field.options().GetExtension(config::v1::yaml).inline_();
}

bool FieldEquals(const FieldDescriptor& field, const Message& a, const Message& b) {
  MessageDifferencer differencer;
  std::vector<const FieldDescriptor*> fields = {&field};
  return differencer.CompareWithFields(a, b, fields, fields);
}

// Fields of a document whose values differ. Messages that are written at the level of their parent
// are opened, others are one field.
void Compare(const Message& a,
             const Message& b,
             const std::string& prefix,
             std::set<std::string>& changed) {
  const auto* descriptor = a.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_repeated() &&
        IsInline(field)) {
      if (field.containing_oneof() != nullptr &&
          a.GetReflection()->HasField(a, &field) != b.GetReflection()->HasField(b, &field)) {
        changed.insert("type");
        continue;
      }
      Compare(a.GetReflection()->GetMessage(a, &field),
              b.GetReflection()->GetMessage(b, &field),
              prefix,
              changed);
    } else if (!FieldEquals(field, a, b)) {
      changed.insert(prefix + KeyOf(field));
    }
  }
}

std::vector<std::string> ToVector(const std::set<std::string>& set) {
  return {set.begin(), set.end()};
}

// Hosts in an order that depends on their content alone.
std::vector<std::string> SortedHosts(const config::v1::SshConfig& config) {
  std::vector<std::string> hosts;
  for (const auto& host : config.hosts()) hosts.push_back(host.SerializeAsString());
  std::sort(hosts.begin(), hosts.end());
  return hosts;
}

}  // namespace

std::vector<std::string> ChangedFields(const api::v1::RunSpec& current,
                                       const api::v1::RunSpec& wanted) {
  std::set<std::string> changed;
  Compare(current.configuration(), wanted.configuration(), "", changed);
  if (current.configuration_path() != wanted.configuration_path())
    changed.insert("configuration_path");
  if (current.ssh_public_key() != wanted.ssh_public_key()) changed.insert("ssh_public_key");
  std::multiset<std::string> current_files;
  std::multiset<std::string> wanted_files;
  for (const auto& file : current.files()) current_files.insert(file.SerializeAsString());
  for (const auto& file : wanted.files()) wanted_files.insert(file.SerializeAsString());
  if (current_files == wanted_files) {
    // The same content under the same destination is the same, wherever it lies on the client's
    // machine.
    changed.erase("files");
  } else {
    changed.insert("files");
  }
  return ToVector(changed);
}

bool IsUpdatable(const api::v1::RunSpec& wanted, const std::vector<std::string>& changed_fields) {
  std::set<std::string> allowed = {"priority", "configuration_path"};
  if (wanted.configuration().has_dev_environment()) allowed.insert("inactivity_duration");
  return std::all_of(changed_fields.begin(), changed_fields.end(), [&](const std::string& field) {
    return allowed.count(field) > 0;
  });
}

std::vector<std::string> ChangedFields(const api::v1::FleetSpec& current,
                                       const api::v1::FleetSpec& wanted) {
  std::set<std::string> changed;
  auto a = current.configuration();
  auto b = wanted.configuration();
  Compare(a.ssh_config(), b.ssh_config(), "ssh_config.", changed);
  // Order alone is no difference.
  changed.erase(kHosts);
  if (SortedHosts(a.ssh_config()) != SortedHosts(b.ssh_config())) changed.insert(kHosts);
  a.clear_ssh_config();
  b.clear_ssh_config();
  Compare(a, b, "", changed);
  if (current.configuration_path() != wanted.configuration_path())
    changed.insert("configuration_path");
  return ToVector(changed);
}

bool IsUpdatable(const std::vector<std::string>& changed_fleet_fields) {
  return std::all_of(
      changed_fleet_fields.begin(), changed_fleet_fields.end(), [](const std::string& field) {
        return field == kHosts || field == "configuration_path";
      });
}

}  // namespace dstack::server
