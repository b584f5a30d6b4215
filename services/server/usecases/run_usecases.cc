#include "services/server/usecases/run_usecases.h"

#include <algorithm>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "libs/base/status.h"
#include "services/server/domain/offer/match.h"
#include "services/server/domain/spec/effective_spec.h"
#include "services/server/domain/spec/job_spec_builder.h"
#include "services/server/domain/spec/names.h"
#include "services/server/usecases/names_list.h"
#include "services/server/usecases/request_digest.h"

namespace dstack::server {
namespace {

constexpr std::size_t kMaxFiles = 1000;
constexpr std::size_t kMaxKeyLength = 16 << 10;
// Shown in the job's name while the run has none yet.
constexpr const char* kUnnamed = "run";

// What the document's own rules do not cover: parts of the spec that clients, not people, write.
std::vector<base::FieldViolation> CheckClientFields(const api::v1::RunSpec& spec) {
  std::vector<base::FieldViolation> violations;
  if (static_cast<std::size_t>(spec.files_size()) > kMaxFiles) {
    violations.push_back(
        {"run_spec.files",
         fmt::format("must have at most {} archives; it has {}", kMaxFiles, spec.files_size()),
         ""});
  }
  const std::string& key = spec.ssh_public_key();
  if (key.size() > kMaxKeyLength ||
      key.find_first_of(std::string("\n\r\0", 3)) != std::string::npos) {
    violations.push_back({"run_spec.ssh_public_key",
                          "must be one line of an authorized_keys file, at most 16 KiB",
                          ""});
  }
  return violations;
}

// The first rule for a field says enough.
void KeepFirstPerField(std::vector<base::FieldViolation>& violations) {
  std::set<std::string> fields;
  std::vector<base::FieldViolation> kept;
  for (base::FieldViolation& violation : violations) {
    if (fields.insert(violation.field).second) kept.push_back(std::move(violation));
  }
  violations = std::move(kept);
}

absl::Status CheckUploaded(FileStore& files, const UserId& user, const api::v1::RunSpec& spec) {
  std::vector<std::string> digests;
  for (const auto& file : spec.files()) digests.push_back(file.digest());
  const std::string& diff = spec.repo().diff_digest();
  if (!diff.empty()) digests.push_back(diff);
  if (digests.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto missing, files.FindMissing(user, digests));
  std::vector<base::FieldViolation> violations;
  for (int i = 0; i < spec.files_size(); ++i) {
    if (std::find(missing.begin(), missing.end(), spec.files(i).digest()) == missing.end())
      continue;
    violations.push_back({fmt::format("run_spec.files[{}].digest", i),
                          fmt::format("file {} has not been uploaded", spec.files(i).digest()),
                          ""});
  }
  if (std::find(missing.begin(), missing.end(), diff) != missing.end()) {
    violations.push_back(
        {"run_spec.repo.diff_digest", fmt::format("file {} has not been uploaded", diff), ""});
  }
  return base::InvalidFields(violations);
}

absl::Status ChangedSincePlan(const std::string& name) {
  return base::Error(absl::StatusCode::kAborted,
                     "CHANGED_SINCE_PLAN",
                     fmt::format("run {} has changed since the plan was made; plan again", name),
                     {{"run_name", name}});
}

absl::Status ActiveAndNotUpdatable(const std::string& name,
                                   const std::vector<SpecChange>& changes) {
  const std::vector<std::string> changed = FieldsOf(changes);
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "RUN_ACTIVE",
      fmt::format("run {} is active and cannot be updated in place: {} changed; stop it first",
                  name,
                  fmt::join(changed, ", ")),
      {{"run_name", name}, {"changed_fields", fmt::format("{}", fmt::join(changed, ","))}});
}

std::uint32_t PriorityOf(const api::v1::RunSpec& spec) {
  return static_cast<std::uint32_t>(std::clamp(spec.configuration().priority(), 0, 100));
}

}  // namespace

absl::StatusOr<api::v1::RunSpec> PrepareSpec(IdentityStore& identities,
                                             FileStore* files,
                                             const rpc::Caller& caller,
                                             const api::v1::RunSpec& spec) {
  auto effective = EffectiveSpec(spec);
  std::vector<base::FieldViolation> violations = CheckClientFields(spec);
  if (!effective.ok()) {
    const auto others = base::FieldViolations(effective.status());
    if (others.empty()) return effective.status();
    violations.insert(violations.begin(), others.begin(), others.end());
    KeepFirstPerField(violations);
  }
  RETURN_IF_ERROR(base::InvalidFields(violations));
  if (effective->ssh_public_key().empty()) {
    ASSIGN_OR_RETURN(const User user, identities.FindUser(caller.identity.user_name));
    effective->set_ssh_public_key(user.ssh_public_key);
  }
  if (files != nullptr) {
    RETURN_IF_ERROR(CheckUploaded(*files, UserId(caller.identity.user_id), *effective));
  }
  return effective;
}

RunUseCases::RunUseCases(RunStore& runs,
                         InstanceStore& instances,
                         FleetStore& fleets,
                         FileStore& files,
                         IdentityStore& identities,
                         const base::Clock& clock,
                         base::IdSource& ids)
    : runs_(runs),
      instances_(instances),
      fleets_(fleets),
      files_(files),
      identities_(identities),
      clock_(clock),
      ids_(ids) {}

absl::StatusOr<RunProposal> RunUseCases::Plan(const rpc::Caller& caller,
                                              const Project& project,
                                              const api::v1::RunSpec& spec,
                                              const MatchOptions& options) {
  RunProposal proposal;
  ASSIGN_OR_RETURN(proposal.effective_spec, PrepareSpec(identities_, nullptr, caller, spec));
  const std::string& name = proposal.effective_spec.run_name();
  ASSIGN_OR_RETURN(proposal.current_run, FindActive(project, name));
  if (proposal.current_run) {
    proposal.changes = CompareSpecs(proposal.current_run->run.spec, proposal.effective_spec);
    if (IsUpdatable(proposal.effective_spec, proposal.changes))
      proposal.action = api::v1::APPLY_ACTION_UPDATE;
  }
  ASSIGN_OR_RETURN(const auto instances, LoadInstances(project));
  proposal.jobs.push_back({JobName(name.empty() ? kUnnamed : name, 0, 0),
                           MatchInstances(proposal.effective_spec, instances, options)});
  if (instances.empty()) {
    ASSIGN_OR_RETURN(const bool has_fleets, fleets_.HasAny(project.id));
    proposal.has_no_fleets = !has_fleets;
  }
  return proposal;
}

absl::StatusOr<RunAndJobs> RunUseCases::Apply(const rpc::Caller& caller,
                                              const Project& project,
                                              const Application& application) {
  RETURN_IF_ERROR(CheckRequestId(application.request_id));
  ASSIGN_OR_RETURN(const auto spec, PrepareSpec(identities_, &files_, caller, application.spec));
  // The insert comes first: only it knows whether this request has been answered before.
  auto inserted = runs_.Insert(MakeRun(caller, project, spec, application));
  if (inserted.ok() || base::Reason(inserted.status()) != "RUN_ACTIVE") return inserted;
  return UpdateActive(project, spec, application);
}

NewRun RunUseCases::MakeRun(const rpc::Caller& caller,
                            const Project& project,
                            const api::v1::RunSpec& spec,
                            const Application& application) {
  NewRun result;
  Run& run = result.run;
  run.id = RunId(ids_.NewId());
  run.project_id = project.id;
  run.project_name = project.name;
  run.user_id = UserId(caller.identity.user_id);
  run.user_name = caller.identity.user_name;
  run.name = spec.run_name();
  run.spec = spec;
  run.status = api::v1::RUN_STATUS_SUBMITTED;
  run.priority = PriorityOf(spec);
  run.submitted_at = clock_.Now();
  result.jobs = BuildJobs(spec);
  for (Job& job : result.jobs) {
    job.id = JobId(ids_.NewId());
    job.run_id = run.id;
    job.project_id = project.id;
    job.submitted_at = run.submitted_at;
  }
  result.request_id = application.request_id;
  result.request_digest = application.request_digest;
  if (!application.is_forced) result.expected_current_run_id = application.current_run_id;
  return result;
}

absl::StatusOr<RunAndJobs> RunUseCases::UpdateActive(const Project& project,
                                                     const api::v1::RunSpec& spec,
                                                     const Application& application) {
  const std::string& name = spec.run_name();
  ASSIGN_OR_RETURN(auto current, FindActive(project, name));
  // It ended between the insert and now: the caller's plan is out of date.
  if (!current) return ChangedSincePlan(name);
  const auto changed = CompareSpecs(current->run.spec, spec);
  const bool is_current = current->run.id.str() == application.current_run_id;
  if (changed.empty() && (application.is_forced || is_current)) return *std::move(current);
  if (!IsUpdatable(spec, changed)) return ActiveAndNotUpdatable(name, changed);
  const bool is_planned = is_current && current->run.version == application.current_run_version;
  if (!application.is_forced && !is_planned) return ChangedSincePlan(name);
  return runs_.UpdateSpec(current->run.id, current->run.version, spec, PriorityOf(spec));
}

absl::StatusOr<std::vector<RunAndJobs>> RunUseCases::Stop(const Project& project,
                                                          const std::vector<std::string>& names,
                                                          bool is_abort) {
  ASSIGN_OR_RETURN(const auto checked, CheckNames("run_names", names));
  return runs_.RequestStop(project.id, checked, is_abort, clock_.Now());
}

absl::Status RunUseCases::Delete(const Project& project,
                                 const std::vector<std::string>& names,
                                 bool allow_missing) {
  ASSIGN_OR_RETURN(const auto checked, CheckNames("run_names", names));
  return runs_.Delete(project.id, checked, allow_missing);
}

absl::StatusOr<std::vector<Instance>> RunUseCases::LoadInstances(const Project& project) {
  constexpr std::size_t kMaxInstances = 20'000;
  std::vector<Instance> instances;
  InstanceStore::Filter filter;
  filter.project_id = project.id;
  do {
    ASSIGN_OR_RETURN(auto page, instances_.List(filter));
    std::move(page.instances.begin(), page.instances.end(), std::back_inserter(instances));
    filter.page_token = page.next_page_token;
  } while (!filter.page_token.empty() && instances.size() < kMaxInstances);
  return instances;
}

absl::StatusOr<std::optional<RunAndJobs>> RunUseCases::FindActive(const Project& project,
                                                                  const std::string& name) {
  if (name.empty()) return std::nullopt;
  auto run = runs_.Load(project.id, {.name = name, .id = ""});
  if (absl::IsNotFound(run.status())) return std::nullopt;
  if (!run.ok()) return run.status();
  if (IsFinal(run->run.status)) return std::nullopt;
  return std::optional<RunAndJobs>(*std::move(run));
}

}  // namespace dstack::server
