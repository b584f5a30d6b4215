#include "services/server/api/convert.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "libs/base/status.h"
#include "services/server/domain/instance/drain.h"

namespace dstack::server {
namespace {

constexpr const char* kBackend = "ssh";
constexpr const char* kRegion = "remote";
constexpr const char* kTokenPrefix = "n1:";

// Environment variables belong to what members of a project share; the password of a registry and
// the credentials of a repository do not.
void HideSecrets(api::v1::RunSpec& spec) {
  config::v1::RunConfiguration& configuration = *spec.mutable_configuration();
  if (configuration.has_registry_auth()) configuration.mutable_registry_auth()->clear_password();
  if (spec.has_repo()) {
    spec.mutable_repo()->clear_oauth_token();
    spec.mutable_repo()->clear_private_key();
  }
}

double CostOf(const Job& job, TimePoint now) {
  if (!job.offer || !job.running_at) return 0;
  const TimePoint end = job.finished_at.value_or(now);
  const std::chrono::duration<double, std::ratio<3600>> hours = end - *job.running_at;
  return std::max(hours.count(), 0.0) * job.offer->price_dollars_per_hour();
}

api::v1::JobSubmission ToSubmission(const Job& job, const HostKeyOf& host_key_of) {
  api::v1::JobSubmission result;
  result.set_id(job.id.str());
  result.set_submission_num(job.submission_num);
  result.set_status(job.status);
  result.set_status_message(StatusMessage(job));
  result.set_termination_reason(job.termination_reason);
  result.set_termination_message(job.termination_message);
  if (job.exit_status) result.set_exit_status(*job.exit_status);
  *result.mutable_submitted_at() = ToProto(job.submitted_at);
  if (job.running_at) *result.mutable_running_at() = ToProto(*job.running_at);
  if (job.finished_at) *result.mutable_finished_at() = ToProto(*job.finished_at);
  if (job.instance_id) result.set_instance_id(job.instance_id->str());
  result.set_instance_name(job.instance_name);
  if (job.offer) *result.mutable_offer() = *job.offer;
  if (job.pull_progress) *result.mutable_image_pull_progress() = *job.pull_progress;
  result.set_is_unreachable(job.unreachable_since.has_value() && !IsFinal(job.status));
  result.set_ssh_port(job.ssh_port);
  if (!IsFinal(job.status)) result.set_ssh_host_key(host_key_of(job.id));
  return result;
}

// What the newest submissions of a run say together.
struct Newest {
  int count = 0;
  bool all_pulling = true;
  bool any_again = false;  // a further attempt
  std::string message;     // of the only job
  std::string error;
};

Newest Summarize(const std::vector<Job>& jobs) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, const Job*> newest;
  for (const Job& job : jobs) {
    const Job*& slot = newest[{job.replica_num, job.job_num}];
    if (slot == nullptr || job.submission_num >= slot->submission_num) slot = &job;
  }
  Newest result;
  for (const auto& [position, job] : newest) {
    ++result.count;
    result.all_pulling = result.all_pulling && job->status == api::v1::JOB_STATUS_PULLING;
    result.any_again = result.any_again || job->submission_num > 0 || IsFinal(job->status);
    if (result.error.empty()) result.error = ErrorText(*job);
    result.message = StatusMessage(*job);
  }
  result.all_pulling = result.all_pulling && result.count > 0;
  if (result.count != 1) result.message.clear();
  return result;
}

bool IsWaiting(RunStatus status) {
  return status == api::v1::RUN_STATUS_PENDING || status == api::v1::RUN_STATUS_SUBMITTED;
}

void AddJobs(const std::vector<Job>& jobs, const HostKeyOf& host_key_of, api::v1::Run& run) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, api::v1::Job*> by_position;
  for (const Job& job : jobs) {
    api::v1::Job*& slot = by_position[{job.replica_num, job.job_num}];
    if (slot == nullptr) {
      slot = run.add_jobs();
      slot->set_job_name(job.name);
      slot->set_job_num(job.job_num);
      slot->set_replica_num(job.replica_num);
    }
    *slot->add_submissions() = ToSubmission(job, host_key_of);
  }
}

template <typename Plan>
void AddChanges(const std::vector<SpecChange>& changes, Plan& plan) {
  for (const std::string& field : FieldsOf(changes)) plan.add_changed_fields(field);
  for (const SpecChange& change : changes) {
    api::v1::FieldChange& message = *plan.add_changes();
    message.set_path(change.path);
    message.set_current(change.current);
    message.set_wanted(change.wanted);
  }
}

api::v1::JobPlan ToProto(const RunProposal::JobProposal& job) {
  api::v1::JobPlan plan;
  plan.set_job_name(job.job_name);
  const Matches& matches = job.matches;
  for (const api::v1::Offer& offer : matches.offers) *plan.add_offers() = offer;
  plan.set_total_offers(matches.total_offers);
  plan.set_max_price_dollars_per_hour(matches.max_price_dollars_per_hour);
  for (const UnavailableHosts& hosts : matches.unavailable_hosts) {
    api::v1::UnavailableHosts& message = *plan.add_unavailable_hosts();
    message.set_reason(hosts.reason);
    message.set_host_count(hosts.host_count);
    message.mutable_instance_names()->Assign(hosts.instance_names.begin(),
                                             hosts.instance_names.end());
  }
  return plan;
}

}  // namespace

api::v1::Run ToProto(const RunAndJobs& source, const RunView& view) {
  const Run& run = source.run;
  const Newest newest = Summarize(source.jobs);
  api::v1::Run result;
  result.set_id(run.id.str());
  result.set_project_name(run.project_name);
  result.set_user_name(run.user_name);
  *result.mutable_spec() = run.spec;
  result.mutable_spec()->set_run_name(run.name);
  HideSecrets(*result.mutable_spec());
  result.set_status(run.status);
  result.set_status_message(StatusMessage(
      run, newest.message, newest.all_pulling, IsWaiting(run.status) && newest.any_again));
  result.set_termination_reason(run.termination_reason);
  result.set_error(ErrorText(run).empty() ? newest.error : ErrorText(run));
  AddJobs(source.jobs, view.host_key_of, result);
  *result.mutable_submitted_at() = ToProto(run.submitted_at);
  if (run.finished_at) *result.mutable_finished_at() = ToProto(*run.finished_at);
  result.set_fleet_name(run.fleet_name);
  result.set_version(run.version);
  double cost = 0;
  for (const Job& job : source.jobs) cost += CostOf(job, view.now);
  result.set_cost_dollars(cost);
  result.set_priority(run.priority);
  return result;
}

api::v1::RunPlan ToProto(const RunProposal& proposal,
                         const Project& project,
                         const std::string& user_name,
                         const RunView& view) {
  api::v1::RunPlan result;
  result.set_project_name(project.name);
  result.set_user_name(user_name);
  *result.mutable_effective_run_spec() = proposal.effective_spec;
  HideSecrets(*result.mutable_effective_run_spec());
  for (const auto& job : proposal.jobs) *result.add_job_plans() = ToProto(job);
  if (proposal.current_run) *result.mutable_current_run() = ToProto(*proposal.current_run, view);
  result.set_action(proposal.action);
  AddChanges(proposal.changes, result);
  result.set_has_no_fleets(proposal.has_no_fleets);
  return result;
}

api::v1::Instance ToProto(const Instance& instance) {
  api::v1::Instance result;
  result.set_id(instance.id.str());
  result.set_name(instance.name);
  result.set_project_name(instance.project_name);
  result.set_fleet_name(instance.fleet_name);
  result.set_instance_num(instance.instance_num);
  result.set_status(instance.status);
  result.set_is_unreachable(instance.is_unreachable);
  result.set_status_message(instance.status_message);
  result.set_termination_reason(instance.termination_reason);
  if (instance.resources) *result.mutable_resources() = *instance.resources;
  result.set_backend(kBackend);
  result.set_region(kRegion);
  result.set_hostname(instance.hostname);
  result.set_total_blocks(instance.total_blocks);
  result.set_busy_blocks(instance.busy_blocks);
  *result.mutable_created_at() = ToProto(instance.created_at);
  result.set_container_runtime(instance.container_runtime);
  result.set_host_key_fingerprint(instance.host_key_fingerprint);
  result.set_shim_version(instance.shim_version);
  InstanceHealth health = HealthOf(instance);
  result.set_health(health.status);
  result.set_health_message(std::move(health.message));
  if (instance.drain) {
    api::v1::InstanceDrain& drain = *result.mutable_drain();
    drain.set_reason(instance.drain->reason);
    *drain.mutable_since() = ToProto(instance.drain->since);
    drain.set_is_confirmed(instance.is_drain_confirmed);
    drain.set_is_empty(IsDrainedEmpty(instance));
  }
  return result;
}

api::v1::Fleet ToProto(const Fleet& fleet) {
  api::v1::Fleet result;
  result.set_id(fleet.id.str());
  result.set_name(fleet.name);
  result.set_project_name(fleet.project_name);
  *result.mutable_spec() = fleet.spec;
  result.mutable_spec()->clear_ssh_keys();
  result.set_status(fleet.status);
  result.set_status_message(fleet.status_message);
  *result.mutable_created_at() = ToProto(fleet.created_at);
  for (const Instance& instance : fleet.instances) *result.add_instances() = ToProto(instance);
  result.set_version(fleet.version);
  return result;
}

api::v1::FleetPlan ToProto(const FleetProposal& proposal,
                           const Project& project,
                           const std::string& user_name) {
  api::v1::FleetPlan result;
  result.set_project_name(project.name);
  result.set_user_name(user_name);
  *result.mutable_effective_fleet_spec() = proposal.effective_spec;
  result.mutable_effective_fleet_spec()->clear_ssh_keys();
  if (proposal.current_fleet) *result.mutable_current_fleet() = ToProto(*proposal.current_fleet);
  AddChanges(proposal.changes, result);
  result.set_is_updatable(proposal.is_updatable);
  return result;
}

api::v1::Project ToProto(const Project& project) {
  api::v1::Project result;
  result.set_id(project.id.str());
  result.set_name(project.name);
  result.set_owner_name(project.owner_name);
  for (const auto& [user_name, role] : project.members) {
    auto& member = *result.add_members();
    member.set_user_name(user_name);
    member.set_role(role);
  }
  *result.mutable_created_at() = ToProto(project.created_at);
  return result;
}

api::v1::User ToProto(const User& user) {
  api::v1::User result;
  result.set_id(user.id.str());
  result.set_name(user.name);
  result.set_global_role(user.global_role);
  result.set_ssh_public_key(user.ssh_public_key);
  *result.mutable_created_at() = ToProto(user.created_at);
  return result;
}

std::uint32_t PageSize(std::uint32_t wanted, std::uint32_t fallback, std::uint32_t cap) {
  return wanted == 0 ? fallback : std::min(wanted, cap);
}

std::string EncodeNameToken(const std::string& last_name) {
  return absl::WebSafeBase64Escape(kTokenPrefix + last_name);
}

absl::StatusOr<std::string> DecodeNameToken(const std::string& token) {
  if (token.empty()) return std::string();
  std::string text;
  if (!absl::WebSafeBase64Unescape(token, &text) || text.rfind(kTokenPrefix, 0) != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "INVALID_PAGE_TOKEN",
                       "page_token is not one of this list");
  }
  return text.substr(std::char_traits<char>::length(kTokenPrefix));
}

}  // namespace dstack::server
