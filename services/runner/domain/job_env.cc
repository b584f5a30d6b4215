#include "services/runner/domain/job_env.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>
#include <utility>

#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <fmt/format.h>

namespace dstack::runner {
namespace {

constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// Of jobs without a repository: scripts that use these variables still find values.
constexpr char kNoRepository[] = "none";
constexpr char kRepositoryDir[] = "/workflow";

std::uint32_t GpusOfNode(const v1::JobSpec& job) {
  const auto node = static_cast<int>(job.identity().job_num());
  const auto& gpus = job.cluster().gpus_per_node();
  return node < gpus.size() ? gpus.Get(node) : 0;
}

void AddIdentity(const v1::JobIdentity& identity, Environment* out) {
  (*out)["DSTACK_RUN_ID"] = identity.run_id();
  (*out)["DSTACK_RUN_NAME"] = identity.run_name();
  (*out)["DSTACK_JOB_ID"] = identity.job_id();
  (*out)["DSTACK_NODE_RANK"] = std::to_string(identity.job_num());
  (*out)["DSTACK_NODES_NUM"] = std::to_string(std::max(1U, identity.jobs_per_replica()));
}

void AddCluster(const v1::JobSpec& job, Environment* out) {
  const auto& addresses = job.cluster().node_addresses();
  const auto& gpus = job.cluster().gpus_per_node();
  (*out)["DSTACK_NODES_IPS"] = absl::StrJoin(addresses, "\n");
  (*out)["DSTACK_MASTER_NODE_IP"] = addresses.empty() ? "" : addresses.Get(0);
  (*out)["DSTACK_GPUS_PER_NODE"] = std::to_string(GpusOfNode(job));
  (*out)["DSTACK_GPUS_NUM"] =
      std::to_string(std::accumulate(gpus.begin(), gpus.end(), std::uint64_t{0}));
}

// bash exports functions as BASH_FUNC_name%% or BASH_FUNC_name().
bool IsShellFunction(std::string_view name) {
  constexpr std::string_view kPrefix = "BASH_FUNC_";
  constexpr std::size_t kSuffixSize = 2;
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() + kSuffixSize &&
         (name.ends_with("%%") || name.ends_with("()"));
}

}  // namespace

Environment ParseEnvironment(const std::vector<std::string>& entries) {
  Environment environment;
  for (const std::string& entry : entries) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    std::string name = entry.substr(0, equals);
    if (IsShellFunction(name)) continue;
    environment[std::move(name)] = entry.substr(equals + 1);
  }
  return environment;
}

Environment BuildJobEnvironment(const Environment& inherited,
                                const v1::JobSpec& job,
                                const JobPlaces& places) {
  Environment environment = inherited;
  AddIdentity(job.identity(), &environment);
  AddCluster(job, &environment);
  environment["DSTACK_REPO_ID"] = job.has_repo() ? job.repo().repo_id() : kNoRepository;
  environment["DSTACK_REPO_DIR"] = job.has_repo() ? places.repo_dir : kRepositoryDir;
  environment["DSTACK_WORKING_DIR"] = places.working_dir;
  environment["DSTACK_MPI_HOSTFILE"] = places.mpi_hostfile;
  for (const auto& [name, value] : job.env()) environment[name] = value;
  environment["HOME"] = places.home;
  environment.try_emplace("PATH", kDefaultPath);
  return environment;
}

std::vector<std::string> ToEntries(const Environment& environment) {
  std::vector<std::string> entries;
  entries.reserve(environment.size());
  for (const auto& [name, value] : environment) entries.push_back(name + "=" + value);
  return entries;
}

bool IsShellIdentifier(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return !name.empty() && is_letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

std::string LoginProfile(const Environment& environment, std::string_view working_dir) {
  // What a login shell sets itself.
  static const std::set<std::string_view> kOwn = {
      "HOSTNAME", "USER", "HOME", "SHELL", "SHLVL", "PWD", "_"};
  const auto quote = [](std::string_view text) {
    return fmt::format(
        "'{}'", absl::StrReplaceAll(absl::string_view(text.data(), text.size()), {{"'", "'\\''"}}));
  };
  std::string script;
  for (const auto& [name, value] : environment) {
    if (kOwn.contains(name) || !IsShellIdentifier(name)) continue;
    script += fmt::format("export {}={}\n", name, quote(value));
  }
  script += fmt::format("cd {} 2>/dev/null || true\n", quote(working_dir));
  return script;
}

std::string MpiHostfile(const v1::ClusterInfo& cluster) {
  std::string lines;
  for (int node = 0; node < cluster.node_addresses_size(); ++node) {
    const std::string& address = cluster.node_addresses(node);
    if (address.empty()) return "";
    const std::uint32_t slots =
        node < cluster.gpus_per_node_size() ? cluster.gpus_per_node(node) : 0;
    lines += slots > 0 ? fmt::format("{} slots={}\n", address, slots) : address + "\n";
  }
  return lines;
}

}  // namespace dstack::runner
