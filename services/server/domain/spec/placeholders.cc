#include "services/server/domain/spec/placeholders.h"

#include "fmt/format.h"
#include "libs/config/interpolate.h"

namespace dstack::server {
namespace {

using base::FieldViolation;
using Texts = google::protobuf::RepeatedPtrField<std::string>;

constexpr const char* kUnsupported = "UNSUPPORTED";

void CheckValue(const std::string& field,
                const std::string& text,
                std::vector<FieldViolation>* violations) {
  config::InterpolationOptions with_secrets;
  with_secrets.kept_namespaces = {"secrets"};
  const auto checked = config::Interpolate(text, with_secrets);
  if (!checked.ok()) {
    violations->push_back({field, std::string(base::Message(checked.status())), ""});
  } else if (!config::Interpolate(text, {}).ok()) {
    violations->push_back(
        {field, "is not supported by this server: it keeps no secrets", kUnsupported});
  }
}

void RefuseAddresses(const std::string& path,
                     const Texts& commands,
                     std::vector<FieldViolation>* violations) {
  for (int i = 0; i < commands.size(); ++i) {
    const auto replaced = config::ReplaceGroupAddresses(
        commands[i], [](const config::GroupAddress&) -> absl::StatusOr<std::string> {
          return absl::UnimplementedError("an address");
        });
    if (replaced.ok()) continue;
    violations->push_back({fmt::format("{}[{}]", path, i),
                           "is not supported by this server: a task has no addresses of nodes",
                           kUnsupported});
  }
}

}  // namespace

std::vector<FieldViolation> FindPlaceholderViolations(const config::v1::RunConfiguration& run) {
  std::vector<FieldViolation> violations;
  for (int i = 0; i < run.env_size(); ++i) {
    std::vector<FieldViolation> found;
    CheckValue(fmt::format("env[{}]", i), run.env(i).value(), &found);
    for (FieldViolation& violation : found) {
      violation.description = fmt::format("{} ({})", violation.description, run.env(i).name());
      violations.push_back(std::move(violation));
    }
  }
  if (run.has_registry_auth()) {
    CheckValue("registry_auth.username", run.registry_auth().username(), &violations);
    CheckValue("registry_auth.password", run.registry_auth().password(), &violations);
  }
  const auto wrong_addresses = base::FieldViolations(config::CheckGroupAddresses(run));
  violations.insert(violations.end(), wrong_addresses.begin(), wrong_addresses.end());
  RefuseAddresses("commands", run.task().commands(), &violations);
  return violations;
}

std::string ReplacePlaceholders(const std::string& text) {
  return config::Interpolate(text, {}).value_or(text);
}

}  // namespace dstack::server
