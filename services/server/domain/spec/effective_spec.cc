#include "services/server/domain/spec/effective_spec.h"

#include <string>
#include <vector>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/config/defaults.h"
#include "libs/config/names.h"
#include "libs/config/validate.h"
#include "services/server/domain/spec/placeholders.h"
#include "services/server/domain/spec/repo_spec.h"
#include "services/server/domain/spec/shell_words.h"

namespace dstack::server {
namespace {

using base::FieldViolation;
using config::v1::RunConfiguration;

void Refuse(std::vector<FieldViolation>* violations, const char* field, const char* why) {
  violations->push_back(
      {field, fmt::format("is not supported by this server: {}", why), "UNSUPPORTED"});
}

// Fields that are understood but that nothing here carries out. Leaving them out in silence would
// run something else than was asked for.
void RefuseProfileFields(const config::v1::ProfileParams& profile,
                         std::vector<FieldViolation>* violations) {
  if (profile.has_schedule()) Refuse(violations, "schedule", "runs start when they are submitted");
  if (profile.has_utilization_policy())
    Refuse(violations, "utilization_policy", "accelerator use is not judged yet");
  if (profile.has_reservation()) Refuse(violations, "reservation", "hosts of SSH fleets have none");
}

void RefuseUnsupported(const RunConfiguration& run, std::vector<FieldViolation>* violations) {
  if (run.kind_case() == RunConfiguration::KIND_NOT_SET) return;  // told by the document's rules
  if (!run.has_task()) {
    Refuse(violations, "type", "only `task` runs");
    return;
  }
  if (run.task().has_nodes() && run.task().nodes() > 1)
    Refuse(violations, "nodes", "a task runs on one node");
  if (!run.task().groups().empty()) Refuse(violations, "groups", "a task runs on one node");
  if (!run.python().empty()) Refuse(violations, "python", "name an `image` that has it");
  if (run.nvcc()) Refuse(violations, "nvcc", "name an `image` that has it");
  if (run.dstack()) Refuse(violations, "dstack", "jobs cannot call the server");
  for (int i = 0; i < run.volumes_size(); ++i) {
    if (run.volumes(i).has_network())
      Refuse(violations,
             fmt::format("volumes[{}]", i).c_str(),
             "only host directories can be mounted");
  }
  RefuseProfileFields(run.profile(), violations);
}

void CheckNames(const api::v1::RunSpec& spec, std::vector<FieldViolation>* violations) {
  if (spec.run_name().empty()) return;
  const absl::Status status = config::CheckResourceName(spec.run_name());
  if (!status.ok()) {
    // The name stands in the document, or was given beside it.
    const bool is_documents = spec.configuration().name() == spec.run_name();
    violations->push_back({is_documents ? "name" : "run_spec.run_name",
                           fmt::format("{} ({})", base::Message(status), spec.run_name()),
                           ""});
  }
  if (spec.configuration().has_name() && spec.configuration().name() != spec.run_name()) {
    violations->push_back({"run_spec.run_name",
                           fmt::format("is {}, but the configuration's name is {}",
                                       spec.run_name(),
                                       spec.configuration().name()),
                           ""});
  }
}

void CheckFiles(const api::v1::RunSpec& spec, std::vector<FieldViolation>* violations) {
  for (int i = 0; i < spec.files_size(); ++i) {
    const std::string& digest = spec.files(i).digest();
    const bool is_digest =
        digest.size() == 64 && digest.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!is_digest)
      violations->push_back(
          {fmt::format("run_spec.files[{}].digest", i), "must be 64 lower-case hex digits", ""});
    if (spec.files(i).path().empty())
      violations->push_back({fmt::format("run_spec.files[{}].path", i), "must not be empty", ""});
  }
}

}  // namespace

absl::StatusOr<api::v1::RunSpec> EffectiveSpec(const api::v1::RunSpec& spec) {
  api::v1::RunSpec effective = spec;
  RunConfiguration* run = effective.mutable_configuration();
  if (effective.run_name().empty()) effective.set_run_name(run->name());
  std::vector<FieldViolation> violations;
  CheckNames(effective, &violations);
  CheckFiles(effective, &violations);
  FillRepo(&effective, &violations);
  if (effective.has_profile()) config::MergeProfile(effective.profile().params(), run);
  RefuseUnsupported(*run, &violations);
  if (auto words = SplitShellWords(run->entrypoint()); !words.ok()) {
    violations.push_back({"entrypoint",
                          fmt::format("{} ({})", base::Message(words.status()), run->entrypoint()),
                          ""});
  }
  for (FieldViolation& violation : FindPlaceholderViolations(*run))
    violations.push_back(std::move(violation));
  const absl::Status valid = config::ValidateSubmittedRun(*run);
  for (FieldViolation& violation : base::FieldViolations(valid))
    violations.push_back(std::move(violation));
  if (!violations.empty()) return base::InvalidFields(violations);
  RETURN_IF_ERROR(valid);
  config::ApplyDefaults(run);
  // Merged: what is left of the profile is its name, for people.
  if (effective.has_profile()) effective.mutable_profile()->clear_params();
  return effective;
}

}  // namespace dstack::server
