#include "services/server/domain/spec/job_spec_builder.h"

#include <algorithm>

#include "dstack/config/v1/run.pb.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/server/domain/spec/names.h"
#include "services/server/domain/spec/placeholders.h"
#include "services/server/domain/spec/repo_spec.h"
#include "services/server/domain/spec/shell_words.h"

namespace dstack::server {
namespace {

using config::v1::RunConfiguration;
using namespace std::chrono_literals;

constexpr const char* kPlainShell = "/bin/sh";
constexpr std::chrono::milliseconds kDefaultStopDuration = 300s;
constexpr std::chrono::milliseconds kLongestStopDuration = 24h;

std::string ShellOf(const RunConfiguration& configuration) {
  if (!configuration.shell().empty()) {
    if (absl::StartsWith(configuration.shell(), "/")) return configuration.shell();
    return "/bin/" + configuration.shell();
  }
  return configuration.image().empty() ? "/bin/bash" : kPlainShell;
}

// Comes before the commands of a run with `docker: true`: ends when the engine answers, fails with
// the engine's words when it does not start. start-dockerd is the usual image's way.
constexpr char kStartDocker[] =
    "(if command -v start-dockerd >/dev/null; then start-dockerd; else "
    "log=$(mktemp); pid=$(dockerd >$log 2>&1 & echo $!); "
    "until docker info >/dev/null 2>&1; do "
    "kill -0 $pid 2>/dev/null || { cat $log >&2; exit 1; }; sleep 0.1; done; fi)";

std::string JoinCommands(const RunConfiguration& configuration) {
  std::vector<std::string> parts;
  if (configuration.docker()) parts.emplace_back(kStartDocker);
  for (const std::string& command : configuration.task().commands()) {
    const std::string trimmed(absl::StripAsciiWhitespace(command));
    // `a & && b` is no shell; `{ a & } && b` is.
    parts.push_back(absl::EndsWith(trimmed, "&") ? "{ " + trimmed + " }" : trimmed);
  }
  return absl::StrJoin(parts, " && ");
}

std::vector<std::string> CommandOf(const RunConfiguration& configuration) {
  const auto& commands = configuration.task().commands();
  if (configuration.has_entrypoint() && !configuration.entrypoint().empty()) {
    auto words = SplitShellWords(configuration.entrypoint());
    // EffectiveSpec has refused what cannot be split.
    std::vector<std::string> argv =
        words.ok() ? *std::move(words) : std::vector<std::string>{configuration.entrypoint()};
    argv.insert(argv.end(), commands.begin(), commands.end());
    return argv;
  }
  if (commands.empty()) return {};  // the image's own
  const std::string shell = ShellOf(configuration);
  // Interactive, so that bash and its kin read the start-up files that set PATH. A plain sh has
  // none, and that of busybox would greet into the log.
  if (shell == kPlainShell) return {shell, "-c", JoinCommands(configuration)};
  return {shell, "-i", "-c", JoinCommands(configuration)};
}

runner::v1::UserSpec UserOf(const std::string& text) {
  runner::v1::UserSpec user;
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  std::uint32_t number = 0;
  if (absl::SimpleAtoi(parts[0], &number)) {
    user.set_uid(number);
  } else {
    user.set_username(parts[0]);
  }
  if (parts.size() < 2) return user;
  if (absl::SimpleAtoi(parts[1], &number)) {
    user.set_gid(number);
  } else {
    user.set_groupname(parts[1]);
  }
  return user;
}

// The task's share of a divided host is enforced; a whole host needs no limits.
void LimitToShare(const Job& job, shim::v1::TaskSpec* task) {
  const api::v1::Offer& offer = *job.offer;
  const auto gpus = static_cast<std::int32_t>(offer.resources().gpus_size());
  if (offer.total_blocks() <= 1 || offer.blocks() >= offer.total_blocks()) {
    task->set_gpu_count(-1);
    task->set_network_mode(shim::v1::NETWORK_MODE_HOST);
    return;
  }
  task->set_gpu_count(gpus);
  task->set_cpu_milli(offer.resources().cpus() * 1000);
  task->set_memory_bytes(offer.resources().memory_bytes());
  // Jobs that share a host must not share its ports.
  task->set_network_mode(shim::v1::NETWORK_MODE_BRIDGE);
}

void AddMounts(const RunConfiguration& configuration, shim::v1::TaskSpec* task) {
  for (const config::v1::VolumeMount& volume : configuration.volumes()) {
    if (!volume.has_instance()) continue;
    shim::v1::BindMount* mount = task->add_mounts();
    mount->set_host_path(volume.instance().instance_path());
    mount->set_container_path(volume.instance().path());
    mount->set_is_optional(volume.instance().optional());
  }
}

}  // namespace

std::vector<Job> BuildJobs(const api::v1::RunSpec& effective_spec) {
  const auto& task = effective_spec.configuration().task();
  const std::uint32_t nodes = task.has_nodes() ? static_cast<std::uint32_t>(task.nodes()) : 1;
  std::vector<Job> jobs(nodes);
  for (std::uint32_t i = 0; i < nodes; ++i) {
    jobs[i].job_num = i;
    jobs[i].name = JobName(effective_spec.run_name(), i, 0);
  }
  return jobs;
}

shim::v1::TaskSpec BuildTaskSpec(const Run& run, const Job& job, const TaskSettings& settings) {
  const RunConfiguration& configuration = run.spec.configuration();
  shim::v1::TaskSpec task;
  task.set_task_id(job.id.str());
  task.set_name(job.name);
  task.set_image(configuration.docker() ? settings.docker_image : configuration.image());
  if (configuration.has_registry_auth()) {
    task.mutable_registry_auth()->set_username(
        ReplacePlaceholders(configuration.registry_auth().username()));
    task.mutable_registry_auth()->set_password(
        ReplacePlaceholders(configuration.registry_auth().password()));
  }
  task.set_is_privileged(configuration.privileged());
  task.set_needs_docker(configuration.docker());
  if (job.offer.has_value()) LimitToShare(job, &task);
  // The engine inside makes networks and rules of its own, which are not for the host.
  if (configuration.docker()) task.set_network_mode(shim::v1::NETWORK_MODE_BRIDGE);
  task.set_shm_size_bytes(configuration.resources().shm_size_bytes());
  AddMounts(configuration, &task);
  for (const std::string& key : settings.container_ssh_keys) task.add_container_ssh_keys(key);
  task.set_runner_token(settings.runner_token);
  task.set_log_overflow_policy(shim::v1::LOG_OVERFLOW_POLICY_THROTTLE);
  task.set_blocks(job.blocks);
  return task;
}

runner::v1::JobSpec BuildJobSpec(
    const Run& run,
    const Job& job,
    const std::vector<std::pair<std::string, std::string>>& fleet_env) {
  const RunConfiguration& configuration = run.spec.configuration();
  runner::v1::JobSpec spec;
  runner::v1::JobIdentity* identity = spec.mutable_identity();
  identity->set_run_id(run.id.str());
  identity->set_run_name(run.name);
  identity->set_job_id(job.id.str());
  identity->set_job_num(job.job_num);
  identity->set_replica_num(job.replica_num);
  identity->set_jobs_per_replica(configuration.task().has_nodes()
                                     ? static_cast<std::uint32_t>(configuration.task().nodes())
                                     : 1);
  identity->set_project_name(run.project_name);
  for (std::string& word : CommandOf(configuration)) spec.add_command(std::move(word));
  for (const auto& [name, value] : fleet_env) (*spec.mutable_env())[name] = value;
  for (const config::v1::EnvVar& variable : configuration.env())
    (*spec.mutable_env())[variable.name()] = ReplacePlaceholders(variable.value());
  spec.set_working_dir(configuration.working_dir());
  if (!configuration.user().empty()) *spec.mutable_user() = UserOf(configuration.user());
  for (const api::v1::RunFile& file : run.spec.files()) {
    runner::v1::FileMapping* mapping = spec.add_files();
    mapping->set_digest(file.digest());
    mapping->set_path(file.path());
  }
  AddRepo(run.spec, &spec);
  const config::v1::ProfileParams& profile = configuration.profile();
  if (profile.max_duration().has_duration())
    *spec.mutable_max_duration() = profile.max_duration().duration();
  spec.mutable_stop_duration()->set_seconds(
      std::chrono::duration_cast<std::chrono::seconds>(StopGrace(run.spec)).count());
  spec.mutable_cluster()->add_node_addresses("");
  spec.mutable_cluster()->add_gpus_per_node(
      job.offer.has_value() ? static_cast<std::uint32_t>(job.offer->resources().gpus_size()) : 0);
  return spec;
}

std::chrono::milliseconds StopGrace(const api::v1::RunSpec& effective_spec) {
  const auto& profile = effective_spec.configuration().profile();
  if (!profile.has_stop_duration()) return kDefaultStopDuration;
  if (!profile.stop_duration().has_duration()) return kLongestStopDuration;  // "off": never forced
  return std::min<std::chrono::milliseconds>(
      std::chrono::seconds(profile.stop_duration().duration().seconds()), kLongestStopDuration);
}

std::chrono::milliseconds HostLostAfter(const api::v1::RunSpec& effective_spec) {
  const auto& profile = effective_spec.configuration().profile();
  if (!profile.has_host_lost_after()) return 0ms;
  return std::chrono::seconds(profile.host_lost_after().seconds());
}

}  // namespace dstack::server
