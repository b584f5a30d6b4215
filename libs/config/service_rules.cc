#include <algorithm>
#include <set>
#include <string>

#include <fmt/format.h>

#include "libs/config/names.h"
#include "libs/config/problem.h"
#include "libs/config/run_rules.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kMaxPrefixBytes = 4094;
constexpr size_t kMaxUrlBytes = 2048;
constexpr size_t kMaxBodyBytes = 2048;
constexpr size_t kMaxHeaderNameBytes = 256;
constexpr size_t kMaxHeaderKeyBytes = 500;

// Bounds of a number of replicas and the scaling that goes with them. `range_path` and
// `scaling_path` name the two fields.
void CheckReplicas(const v1::IntRange& range,
                   bool has_range,
                   const v1::ScalingSpec* scaling,
                   const std::string& range_path,
                   const std::string& scaling_path,
                   Violations* violations) {
  if (!has_range) return;
  if (!range.has_max()) {
    violations->Add(range_path, "must have an upper bound");
    return;
  }
  const bool is_fixed = range.min() == range.max();
  if (!is_fixed && scaling == nullptr)
    violations->Add(range_path, "needs `scaling` beside it, being a range");
  if (is_fixed && scaling != nullptr) violations->Add(scaling_path, "needs a range of replicas");
}

void CheckScaling(const v1::ScalingSpec& scaling, const std::string& path, Violations* violations) {
  if (!scaling.has_window()) return;
  const int64_t window = scaling.window().seconds();
  if (window == 30 || window == 60 || window == 300) return;
  violations->Add(ChildPath(path, "window"), "must be 30s, 60s or 300s");
}

void CheckGroupImage(const v1::RunConfiguration& run,
                     const v1::ReplicaGroup& group,
                     const std::string& path,
                     Violations* violations) {
  const bool has_image = !group.image().empty();
  if (has_image && group.has_python())
    violations->Add(ChildPath(path, "python"), "cannot be used together with `image`");
  if (group.docker() && (has_image || group.has_python() || group.nvcc())) {
    violations->Add(ChildPath(path, "docker"),
                    "cannot be used together with `image`, `python` and `nvcc`");
  }
  if (group.docker() && group.has_privileged() && !group.privileged()) {
    violations->Add(ChildPath(path, "privileged"), "must not be false with `docker`");
  }
  const bool run_has_image = !run.image().empty();
  if (run_has_image && (group.has_docker() || group.has_python() || group.has_nvcc())) {
    violations->Add(path,
                    "must not have `docker`, `python` or `nvcc`, since the service has `image`");
  }
  if (run.docker() && (group.has_image() || group.has_python() || group.has_nvcc())) {
    violations->Add(path,
                    "must not have `image`, `python` or `nvcc`, since the service has `docker`");
  }
  const bool run_has_base = run.has_python() || run.nvcc();
  if (run_has_base && (group.has_image() || group.has_docker())) {
    violations->Add(path,
                    "must not have `image` or `docker`, since the service has `python` or `nvcc`");
  }
}

// A field is set for the whole service or for its groups, not for both.
void CheckOverlap(const v1::RunConfiguration& run,
                  const v1::ReplicaGroup& group,
                  const std::string& path,
                  Violations* violations) {
  const auto check = [&](bool in_run, bool in_group, const char* key) {
    if (in_run && in_group) violations->Add(ChildPath(path, key), "is set for the service already");
  };
  check(!run.image().empty(), group.has_image(), "image");
  check(run.docker(), group.has_docker(), "docker");
  check(run.privileged(), group.has_privileged(), "privileged");
  check(run.has_python(), group.has_python(), "python");
  check(run.nvcc(), group.has_nvcc(), "nvcc");
  check(run.profile().spot_policy() != v1::SPOT_POLICY_UNSPECIFIED,
        group.spot_policy() != v1::SPOT_POLICY_UNSPECIFIED,
        "spot_policy");
  check(run.profile().has_reservation(), group.has_reservation(), "reservation");
}

void CheckGroup(const v1::RunConfiguration& run,
                int index,
                std::set<std::string>* names,
                Violations* violations) {
  const v1::ReplicaGroup& group = run.service().groups(index);
  const std::string path = ItemPath("groups", static_cast<size_t>(index));
  const std::string name = group.has_name() ? group.name() : std::to_string(index);
  violations->AddIf(ChildPath(path, "name"), CheckGroupName(name));
  if (!names->insert(name).second) {
    violations->Add(ChildPath(path, "name"), fmt::format("is given twice: `{}`", name));
  }
  const bool has_image = !group.image().empty() || !run.image().empty();
  if (group.commands_size() == 0 && !has_image) {
    violations->Add(ChildPath(path, "commands"), "is required without an `image`");
  }
  CheckReplicas(group.replicas(),
                group.has_replicas(),
                group.has_scaling() ? &group.scaling() : nullptr,
                ChildPath(path, "replicas"),
                ChildPath(path, "scaling"),
                violations);
  if (group.has_scaling()) CheckScaling(group.scaling(), ChildPath(path, "scaling"), violations);
  const bool is_single = group.replicas().min() == 1 && group.replicas().max() == 1;
  if (group.has_router() && !is_single) {
    violations->Add(ChildPath(path, "replicas"), "must be 1 in the group with `router`");
  }
  CheckGroupImage(run, group, path, violations);
  CheckOverlap(run, group, path, violations);
}

void CheckGroups(const v1::RunConfiguration& run, Violations* violations) {
  const v1::ServiceConfiguration& service = run.service();
  if (service.has_replicas()) violations->Add("replicas", "cannot be used together with `groups`");
  if (service.has_scaling()) violations->Add("scaling", "must be given in each of the `groups`");
  if (service.commands_size() > 0)
    violations->Add("commands", "must be given in each of the `groups`");
  std::set<std::string> names;
  int routers = 0;
  for (int i = 0; i < service.groups_size(); ++i) {
    CheckGroup(run, i, &names, violations);
    if (!service.groups(i).has_router()) continue;
    ++routers;
    const bool is_dynamo = service.groups(i).router().type() == v1::ROUTER_TYPE_DYNAMO;
    // The address of the router must stay as it is.
    if (is_dynamo && run.profile().has_retry()) {
      violations->Add("retry", "must not be set with a `dynamo` router");
    }
  }
  if (routers > 1) violations->Add("groups", "must have at most one group with `router`");
}

bool IsPrefix(const std::string& prefix) {
  return prefix.starts_with("/") && prefix.size() <= kMaxPrefixBytes &&
         prefix.find_first_of(" \t\r\n\v\f\\{}") == std::string::npos;
}

void CheckRateLimitKey(const v1::RateLimitKey& key,
                       const std::string& path,
                       Violations* violations) {
  const bool is_header = key.type() == v1::RATE_LIMIT_KEY_TYPE_HEADER;
  const bool is_word = !key.header().empty() && key.header().size() <= kMaxHeaderKeyBytes &&
                       std::all_of(key.header().begin(), key.header().end(), [](char c) {
                         return IsAsciiAlnum(c) || c == '-' || c == '_';
                       });
  if (is_header && !is_word) {
    violations->Add(ChildPath(path, "header"), "must have 1 to 500 letters, digits, `-` or `_`");
  }
  if (!is_header && !key.header().empty()) {
    violations->Add(ChildPath(path, "header"), "is used with the type `header` alone");
  }
}

void CheckRateLimits(const v1::ServiceConfiguration& service, Violations* violations) {
  std::set<std::string> prefixes;
  for (int i = 0; i < service.rate_limits_size(); ++i) {
    const v1::RateLimit& limit = service.rate_limits(i);
    const std::string path = ItemPath("rate_limits", static_cast<size_t>(i));
    const std::string prefix = limit.prefix().empty() ? "/" : limit.prefix();
    if (!IsPrefix(prefix)) {
      violations->Add(ChildPath(path, "prefix"),
                      "must begin with `/`, without blanks, backslashes and braces");
    }
    if (!prefixes.insert(prefix).second) {
      violations->Add(ChildPath(path, "prefix"),
                      fmt::format("is given twice: `{}`", Excerpt(prefix)));
    }
    if (limit.has_key()) CheckRateLimitKey(limit.key(), ChildPath(path, "key"), violations);
  }
}

void CheckProbe(const v1::ProbeSpec& probe, const std::string& path, Violations* violations) {
  if (probe.has_url()) {
    if (!probe.url().starts_with("/"))
      violations->Add(ChildPath(path, "url"), "must begin with `/`");
    violations->AddIf(ChildPath(path, "url"), CheckPlainText(probe.url(), kMaxUrlBytes));
  }
  if (probe.has_body()) {
    const std::string body = ChildPath(path, "body");
    if (probe.body().empty() || probe.body().size() > kMaxBodyBytes) {
      violations->Add(body, "must have 1 to 2048 characters");
    }
    const bool is_bodiless =
        probe.method() == v1::PROBE_METHOD_GET || probe.method() == v1::PROBE_METHOD_HEAD;
    if (is_bodiless) violations->Add(body, "cannot be sent with `get` or `head`");
  }
  for (int i = 0; i < probe.headers_size(); ++i) {
    const std::string header = ItemPath(ChildPath(path, "headers"), static_cast<size_t>(i));
    violations->AddIf(ChildPath(header, "name"),
                      CheckPlainText(probe.headers(i).name(), kMaxHeaderNameBytes));
    violations->AddIf(ChildPath(header, "value"),
                      CheckPlainText(probe.headers(i).value(), kMaxBodyBytes));
  }
}

void CheckProbes(const v1::ServiceConfiguration& service, Violations* violations) {
  std::set<std::string> seen;
  for (int i = 0; i < service.probes_size(); ++i) {
    const std::string path = ItemPath("probes", static_cast<size_t>(i));
    CheckProbe(service.probes(i), path, violations);
    if (!seen.insert(service.probes(i).SerializeAsString()).second) {
      violations->Add(path, "is the same as an earlier one");
    }
  }
}

void CheckModel(const v1::ServiceModel& model, Violations* violations) {
  const bool is_tgi = model.format() == v1::MODEL_FORMAT_TGI;
  if (is_tgi && !model.prefix().empty())
    violations->Add("model.prefix", "is used with `openai` alone");
  if (!is_tgi && model.has_chat_template()) {
    violations->Add("model.chat_template", "is used with `tgi` alone");
  }
  if (!is_tgi && model.has_eos_token())
    violations->Add("model.eos_token", "is used with `tgi` alone");
}

// A service that is started by the clock must not be able to sleep again.
void CheckScheduledService(const v1::RunConfiguration& run, Violations* violations) {
  if (!run.profile().has_schedule()) return;
  const v1::ServiceConfiguration& service = run.service();
  bool may_sleep = service.has_replicas() && service.replicas().min() == 0;
  if (service.groups_size() > 0) {
    may_sleep = std::all_of(service.groups().begin(),
                            service.groups().end(),
                            [](const auto& group) { return group.replicas().min() == 0; });
  }
  if (may_sleep) violations->Add("replicas", "must be at least 1 in a service with `schedule`");
}

}  // namespace

void CheckServiceRules(const v1::RunConfiguration& run, Violations* violations) {
  const v1::ServiceConfiguration& service = run.service();
  if (service.groups_size() > 0) {
    CheckGroups(run, violations);
  } else if (service.commands_size() == 0 && run.image().empty()) {
    violations->Add("commands", "is required without an `image`");
  }
  CheckReplicas(service.replicas(),
                service.has_replicas(),
                service.has_scaling() ? &service.scaling() : nullptr,
                "replicas",
                "scaling",
                violations);
  if (service.has_scaling()) CheckScaling(service.scaling(), "scaling", violations);
  if (service.has_model()) CheckModel(service.model(), violations);
  CheckRateLimits(service, violations);
  CheckProbes(service, violations);
  CheckScheduledService(run, violations);
}

}  // namespace dstack::config
