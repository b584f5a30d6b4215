#include "libs/config/run_rules.h"

#include <algorithm>
#include <set>
#include <string>

#include <fmt/format.h>

#include "libs/config/accelerators.h"
#include "libs/config/names.h"
#include "libs/config/problem.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kMaxImageBytes = 4096;
constexpr size_t kMaxTextBytes = 4096;
// Metrics are kept for an hour, so a longer window could never be full.
constexpr int64_t kMaxUtilizationWindowSeconds = 3600;
constexpr int kMaxNodes = 10'000;

void CheckName(const v1::RunConfiguration& run, Violations* violations) {
  if (run.has_name()) violations->AddIf("name", CheckResourceName(run.name()));
}

void CheckImageSource(const v1::RunConfiguration& run, Violations* violations) {
  const bool has_image = !run.image().empty();
  if (has_image && !run.python().empty())
    violations->Add("python", "cannot be used together with `image`");
  if (run.docker() && (has_image || !run.python().empty() || run.nvcc())) {
    violations->Add("docker", "cannot be used together with `image`, `python` and `nvcc`");
  }
  violations->AddIf("image", CheckPlainText(run.image(), kMaxImageBytes));
  const bool has_blank = run.image().find(' ') != std::string::npos;
  if (has_blank || run.image().starts_with("-")) {
    violations->Add("image", "must be the name of an image, without blanks and leading `-`");
  }
}

void CheckProcess(const v1::RunConfiguration& run, Violations* violations) {
  if (run.has_user()) violations->AddIf("user", CheckContainerUser(run.user()));
  if (run.has_shell()) violations->AddIf("shell", CheckShell(run.shell()));
  if (run.has_working_dir()) {
    const std::string& directory = run.working_dir();
    const bool is_absolute =
        directory.starts_with("/") || directory == "~" || directory.starts_with("~/");
    if (!is_absolute) violations->Add("working_dir", "must be absolute or begin with `~/`");
    violations->AddIf("working_dir", CheckPlainText(directory, kMaxTextBytes));
  }
  if (run.has_entrypoint() && run.entrypoint().find('\0') != std::string::npos) {
    violations->Add("entrypoint", "must not have NUL characters");
  }
}

void CheckEnv(const v1::RunConfiguration& run, Violations* violations) {
  std::set<std::string> names;
  for (int i = 0; i < run.env_size(); ++i) {
    if (names.insert(run.env(i).name()).second) continue;
    violations->Add(ItemPath("env", static_cast<size_t>(i)),
                    fmt::format("gives `{}` a second time", Excerpt(run.env(i).name())));
  }
}

void CheckFixedPorts(const google::protobuf::RepeatedPtrField<v1::PortMapping>& ports,
                     const std::string& path,
                     Violations* violations) {
  std::set<int32_t> local_ports;
  for (int i = 0; i < ports.size(); ++i) {
    if (!ports[i].has_local_port() || local_ports.insert(ports[i].local_port()).second) continue;
    violations->Add(ItemPath(path, static_cast<size_t>(i)),
                    fmt::format("uses the local port {} a second time", ports[i].local_port()));
  }
}

// Whether the default images can run on this hardware: they are built for x86 with NVIDIA or Google
// accelerators.
void CheckHardware(const v1::RunConfiguration& run,
                   const v1::Resources& resources,
                   bool has_image,
                   bool has_docker,
                   const std::string& path,
                   Violations* violations) {
  if (resources.cpu().arch() == v1::CPU_ARCH_ARM && (!has_image || run.docker())) {
    violations->Add(ChildPath(path, "cpu"),
                    "`arm` needs an `image`, since the default one is for x86");
  }
  const v1::GpuSpec& gpu = resources.gpu();
  const bool may_have_gpu = !gpu.count().has_max() || gpu.count().max() != 0;
  if (has_image || has_docker || !resources.has_gpu() || !may_have_gpu) return;
  for (const v1::GpuVendor vendor : VendorsOf(gpu)) {
    if (vendor == v1::GPU_VENDOR_NVIDIA || vendor == v1::GPU_VENDOR_GOOGLE) continue;
    violations->Add(ChildPath(path, "gpu"),
                    "needs an `image`, since the default one supports NVIDIA and Google alone");
  }
}

void CheckTaskGroups(const v1::RunConfiguration& run, Violations* violations) {
  const v1::TaskConfiguration& task = run.task();
  if (task.has_nodes()) violations->Add("nodes", "cannot be used together with `groups`");
  if (task.commands_size() > 0)
    violations->Add("commands", "must be given in each of the `groups`");
  if (task.ports_size() > 0) violations->Add("ports", "must be given in each of the `groups`");
  if (run.has_entrypoint()) violations->Add("entrypoint", "cannot be used together with `groups`");
  std::set<std::string> names;
  int64_t nodes = 0;
  for (int i = 0; i < task.groups_size(); ++i) {
    const v1::NodeGroup& group = task.groups(i);
    const std::string path = ItemPath("groups", static_cast<size_t>(i));
    const std::string name = group.has_name() ? group.name() : std::to_string(i);
    violations->AddIf(ChildPath(path, "name"), CheckGroupName(name));
    if (!names.insert(name).second) {
      violations->Add(ChildPath(path, "name"), fmt::format("is given twice: `{}`", name));
    }
    if (group.commands_size() == 0 && run.image().empty()) {
      violations->Add(ChildPath(path, "commands"), "is required without an `image`");
    }
    CheckFixedPorts(group.ports(), ChildPath(path, "ports"), violations);
    CheckHardware(run,
                  group.resources(),
                  !run.image().empty(),
                  run.docker(),
                  ChildPath(path, "resources"),
                  violations);
    nodes += group.has_nodes() ? group.nodes() : 1;
  }
  if (nodes > kMaxNodes)
    violations->Add("groups", fmt::format("must have at most {} nodes", kMaxNodes));
}

void CheckTaskRules(const v1::RunConfiguration& run, Violations* violations) {
  const v1::TaskConfiguration& task = run.task();
  if (task.groups_size() > 0) {
    CheckTaskGroups(run, violations);
    return;
  }
  if (task.commands_size() == 0 && run.image().empty()) {
    violations->Add("commands", "is required without an `image`");
  }
  if (task.nodes() > kMaxNodes)
    violations->Add("nodes", fmt::format("must be at most {}", kMaxNodes));
  CheckFixedPorts(task.ports(), "ports", violations);
}

// `VERSION@COMMIT`, the commit in lower-case hexadecimal.
bool IsWindsurfVersion(const std::string& version) {
  const size_t at = version.find('@');
  if (at == std::string::npos || at == 0) return false;
  const std::string commit = version.substr(at + 1);
  return !commit.empty() && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void CheckDevEnvironmentRules(const v1::RunConfiguration& run, Violations* violations) {
  const v1::DevEnvironmentConfiguration& environment = run.dev_environment();
  if (run.has_entrypoint()) violations->Add("entrypoint", "cannot be used with a dev environment");
  if (environment.has_version()) {
    if (environment.ide() == v1::IDE_UNSPECIFIED) violations->Add("version", "needs `ide`");
    if (environment.ide() == v1::IDE_WINDSURF && !IsWindsurfVersion(environment.version())) {
      violations->Add("version", "must be `VERSION@COMMIT` for windsurf");
    }
    violations->AddIf("version", CheckPlainText(environment.version(), kMaxTextBytes));
  }
  if (environment.has_inactivity_duration() && run.dstack()) {
    violations->Add("inactivity_duration", "cannot be used together with `dstack: true`");
  }
  CheckFixedPorts(environment.ports(), "ports", violations);
}

}  // namespace

void CheckProfileRules(const v1::ProfileParams& params, Violations* violations) {
  const auto window = params.utilization_policy().time_window().seconds();
  if (window > kMaxUtilizationWindowSeconds) {
    violations->Add("utilization_policy.time_window", "must be at most 1h");
  }
  for (const auto& [key, values] : {std::pair{"regions", &params.regions()},
                                    std::pair{"availability_zones", &params.availability_zones()},
                                    std::pair{"instance_types", &params.instance_types()}}) {
    for (int i = 0; i < values->size(); ++i) {
      violations->AddIf(ItemPath(key, static_cast<size_t>(i)),
                        CheckPlainText((*values)[i], kMaxTextBytes));
    }
  }
}

void CheckRunRules(const v1::RunConfiguration& run, Violations* violations) {
  CheckName(run, violations);
  CheckImageSource(run, violations);
  CheckProcess(run, violations);
  CheckEnv(run, violations);
  CheckProfileRules(run.profile(), violations);
  const bool has_groups = run.task().groups_size() > 0 || run.service().groups_size() > 0;
  if (!has_groups) {
    CheckHardware(
        run, run.resources(), !run.image().empty(), run.docker(), "resources", violations);
  }
  switch (run.kind_case()) {
    case v1::RunConfiguration::kTask:
      CheckTaskRules(run, violations);
      break;
    case v1::RunConfiguration::kDevEnvironment:
      CheckDevEnvironmentRules(run, violations);
      break;
    case v1::RunConfiguration::kService:
      CheckServiceRules(run, violations);
      break;
    case v1::RunConfiguration::KIND_NOT_SET:
      violations->Add("type", "must be `task`, `dev-environment` or `service`");
      break;
  }
}

}  // namespace dstack::config
