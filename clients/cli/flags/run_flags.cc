#include "clients/cli/flags/run_flags.h"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/names.h"
#include "libs/config/overlay.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/text.h"
#include "libs/config/validate.h"

namespace dstack::cli {
namespace {

using config::v1::ProfileParams;
using config::v1::RunConfiguration;
using EnvList = google::protobuf::RepeatedPtrField<config::v1::EnvVar>;
using StringList = google::protobuf::RepeatedPtrField<std::string>;

// Collects what is wrong, under the name of the flag.
class Violations {
 public:
  void Add(std::string_view flag, std::string_view rule) {
    violations_.push_back({std::string(flag), std::string(rule)});
  }

  void Take(std::string_view flag, const absl::Status& status) {
    if (status.ok()) return;
    const std::vector<base::FieldViolation> inner = base::FieldViolations(status);
    if (inner.empty()) Add(flag, base::Message(status));
    for (const base::FieldViolation& violation : inner) Add(flag, violation.description);
  }

  absl::Status ToStatus() const { return base::InvalidFields(violations_); }

 private:
  std::vector<base::FieldViolation> violations_;
};

void ApplyName(const std::string& name, RunConfiguration* run, Violations* wrong) {
  if (name.empty()) return;
  run->set_name(name);
  const absl::Status status = config::CheckResourceName(name);
  if (!status.ok())
    wrong->Add("--name", fmt::format("{} (`{}`)", base::Message(status), config::Excerpt(name)));
}

void ApplyResources(const RunFlags& flags, config::v1::Resources* resources, Violations* wrong) {
  const std::pair<const char*, const std::string&> values[] = {
      {"cpu", flags.cpu}, {"gpu", flags.gpu}, {"memory", flags.memory}, {"disk", flags.disk}};
  for (const auto& [key, text] : values) {
    if (text.empty()) continue;
    wrong->Take(fmt::format("--{}", key), config::SetResource(key, text, resources));
  }
}

void Replace(const std::vector<std::string>& values, StringList* list) {
  if (values.empty()) return;
  list->Clear();
  for (const std::string& value : values) *list->Add() = value;
}

// Each value by the rules of the document, so that the flag and the value are named.
void CheckValues(std::string_view flag,
                 const std::vector<std::string>& values,
                 StringList* (ProfileParams::*list)(),
                 Violations* wrong) {
  for (const std::string& value : values) {
    ProfileParams alone;
    *(alone.*list)()->Add() = value;
    for (const base::FieldViolation& violation : config::FindProfileViolations(alone)) {
      wrong->Add(flag, fmt::format("{} (`{}`)", violation.description, config::Excerpt(value)));
    }
  }
}

void ApplyPlacement(const RunFlags& flags, ProfileParams* profile, Violations* wrong) {
  CheckValues("--backend", flags.backends, &ProfileParams::mutable_backends, wrong);
  CheckValues("--region", flags.regions, &ProfileParams::mutable_regions, wrong);
  CheckValues(
      "--instance-type", flags.instance_types, &ProfileParams::mutable_instance_types, wrong);
  Replace(flags.backends, profile->mutable_backends());
  Replace(flags.regions, profile->mutable_regions());
  Replace(flags.instance_types, profile->mutable_instance_types());
  if (!flags.fleets.empty()) wrong->Take("--fleet", config::SetFleets(flags.fleets, profile));
  if (flags.reuse) profile->set_creation_policy(config::v1::CREATION_POLICY_REUSE);
}

void ApplyDurations(const RunFlags& flags, ProfileParams* profile, Violations* wrong) {
  if (!flags.max_duration.empty()) {
    wrong->Take("--max-duration", config::SetMaxDuration(flags.max_duration, profile));
  }
  if (flags.dont_destroy) profile->mutable_idle_duration()->set_off(true);
  if (!flags.idle_duration.empty()) {
    wrong->Take("--idle-duration", config::SetIdleDuration(flags.idle_duration, profile));
  }
}

void ApplyPrice(const RunFlags& flags, ProfileParams* profile, Violations* wrong) {
  if (flags.max_price.empty()) return;
  double price = 0;
  const char* end = flags.max_price.data() + flags.max_price.size();
  const auto [rest, error] = std::from_chars(flags.max_price.data(), end, price);
  if (error != std::errc() || rest != end || !(price > 0) || price > 1e9) {
    wrong->Add("--max-price", fmt::format("must be a number above 0 (`{}`)", flags.max_price));
    return;
  }
  profile->set_max_price(price);
}

void ApplySpot(const RunFlags& flags, ProfileParams* profile, Violations* wrong) {
  std::string policy = flags.spot_policy;
  if (flags.spot) policy = "spot";
  if (flags.on_demand) policy = "on-demand";
  if (flags.spot_auto) policy = "auto";
  if (policy.empty()) return;
  const auto parsed = config::ParseSpotPolicy(policy);
  wrong->Take("--spot-policy", parsed.status());
  if (parsed.ok()) profile->set_spot_policy(*parsed);
}

void ApplyRetry(const RunFlags& flags, ProfileParams* profile, Violations* wrong) {
  if (flags.retry || flags.no_retry) {
    profile->mutable_retry()->Clear();
    profile->mutable_retry()->set_enabled(flags.retry);
  }
  if (!flags.retry_duration.empty()) {
    wrong->Take("--retry-duration", config::SetRetryDuration(flags.retry_duration, profile));
  }
}

void ApplyPorts(const RunFlags& flags, RunConfiguration* run, Violations* wrong) {
  if (flags.ports.empty()) return;
  if (run->has_task()) {
    wrong->Take("--port", config::MergePorts(flags.ports, run->mutable_task()->mutable_ports()));
  } else if (run->has_dev_environment()) {
    wrong->Take("--port",
                config::MergePorts(flags.ports, run->mutable_dev_environment()->mutable_ports()));
  } else {
    wrong->Add("--port", "is for tasks and development environments");
  }
}

// A repository of the flags goes where the document's would; branch and commit are those of an
// address, a work tree has its own.
void ApplyRepo(const RunFlags& flags, RunConfiguration* run, Violations* wrong) {
  if (flags.no_repo) run->clear_repos();
  if (!flags.repo.empty()) {
    const auto parsed = config::ParseRepo(flags.repo);
    wrong->Take("--repo", parsed.status());
    config::v1::RepoSpec* repo = run->repos().empty() ? run->add_repos() : run->mutable_repos(0);
    if (parsed.ok()) {
      repo->clear_local_path();
      repo->clear_url();
      repo->clear_branch();
      repo->clear_hash();
      if (parsed->has_url()) repo->set_url(parsed->url());
      if (parsed->has_local_path()) repo->set_local_path(parsed->local_path());
      if (parsed->path() != "." || repo->path().empty()) repo->set_path(parsed->path());
    }
  }
  if (flags.repo_branch.empty() && flags.repo_hash.empty()) return;
  if (run->repos().empty() || !run->repos(0).has_url()) {
    wrong->Add(flags.repo_branch.empty() ? "--repo-hash" : "--repo-branch",
               "needs a repository with an address");
    return;
  }
  if (!flags.repo_branch.empty()) run->mutable_repos(0)->set_branch(flags.repo_branch);
  if (!flags.repo_hash.empty()) run->mutable_repos(0)->set_hash(flags.repo_hash);
}

}  // namespace

std::vector<std::string> RunFlags::RunOnlyFlags() const {
  const std::pair<const char*, bool> flags[] = {
      {"--cpu", !cpu.empty()},
      {"--gpu", !gpu.empty()},
      {"--memory", !memory.empty()},
      {"--disk", !disk.empty()},
      {"--profile", !profile.empty()},
      {"--no-profile", no_profile},
      {"--max-price", !max_price.empty()},
      {"--max-duration", !max_duration.empty()},
      {"--backend", !backends.empty()},
      {"--region", !regions.empty()},
      {"--instance-type", !instance_types.empty()},
      {"--fleet", !fleets.empty()},
      {"--reuse", reuse},
      {"--dont-destroy", dont_destroy},
      {"--idle-duration", !idle_duration.empty()},
      {"--spot-policy", !spot_policy.empty()},
      {"--spot", spot},
      {"--on-demand", on_demand},
      {"--spot-auto", spot_auto},
      {"--retry", retry},
      {"--no-retry", no_retry},
      {"--retry-duration", !retry_duration.empty()},
      {"--port", !ports.empty()},
      {"--repo", !repo.empty()},
      {"--repo-branch", !repo_branch.empty()},
      {"--repo-hash", !repo_hash.empty()},
      {"--no-repo", no_repo},
      {"--token", !token.empty()},
      {"--git-identity", !git_identity.empty()},
      {"--ssh-identity", !ssh_identity.empty()},
      {"--", !arguments.empty()},
  };
  std::vector<std::string> given;
  for (const auto& [flag, is_given] : flags) {
    if (is_given) given.emplace_back(flag);
  }
  return given;
}

absl::Status ApplyRunFlags(const RunFlags& flags, RunConfiguration* run) {
  Violations wrong;
  ApplyName(flags.name, run, &wrong);
  ApplyResources(flags, run->mutable_resources(), &wrong);
  ApplyPlacement(flags, run->mutable_profile(), &wrong);
  ApplyDurations(flags, run->mutable_profile(), &wrong);
  ApplyPrice(flags, run->mutable_profile(), &wrong);
  ApplySpot(flags, run->mutable_profile(), &wrong);
  ApplyRetry(flags, run->mutable_profile(), &wrong);
  ApplyPorts(flags, run, &wrong);
  ApplyRepo(flags, run, &wrong);
  if (!flags.arguments.empty() && run->has_dev_environment()) {
    wrong.Add("--", "arguments are for tasks and services");
  }
  wrong.Take("--env", MergeEnv(flags.env, run->mutable_env()));
  return wrong.ToStatus();
}

absl::Status MergeEnv(const std::vector<std::string>& texts, EnvList* env) {
  Violations wrong;
  for (const std::string& text : texts) {
    // What stands behind the sign may be secret.
    const std::string name = text.substr(0, text.find('='));
    for (const base::FieldViolation& violation : base::FieldViolations(config::SetEnv(text, env))) {
      wrong.Add("--env", fmt::format("{} (`{}`)", violation.description, config::Excerpt(name)));
    }
  }
  return wrong.ToStatus();
}

absl::Status FillEnv(const Environment& environment, EnvList* env) {
  Violations wrong;
  for (auto& variable : *env) {
    if (variable.has_value()) continue;
    const auto found = environment.variables.find(variable.name());
    if (found == environment.variables.end()) {
      wrong.Add("env." + variable.name(), "has no value, and your environment has none for it");
      continue;
    }
    variable.set_value(found->second);
  }
  return wrong.ToStatus();
}

}  // namespace dstack::cli
