#include <array>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/resources.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "libs/config/names.h"
#include "libs/config/problem.h"
#include "libs/config/shorthand/cron.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/text.h"
#include "libs/config/violations.h"

namespace dstack::config {

namespace {

using google::protobuf::Message;

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxEnvNameBytes = 256;

void CheckIntRange(const v1::IntRange& range, const std::string& path, Violations* violations) {
  if (!range.has_min() && !range.has_max()) {
    violations->Add(path, "must have a lower or an upper bound");
  } else if (range.has_min() && range.has_max() && range.min() > range.max()) {
    violations->Add(path, "must have a lower bound that is not above the upper one");
  }
}

void CheckMemoryRange(const v1::MemoryRange& range,
                      const std::string& path,
                      Violations* violations) {
  if (!range.has_min_bytes() && !range.has_max_bytes()) {
    violations->Add(path, "must have a lower or an upper bound");
  } else if (range.has_min_bytes() && range.has_max_bytes() &&
             range.min_bytes() > range.max_bytes()) {
    violations->Add(path, "must have a lower bound that is not above the upper one");
  }
}

void CheckGpu(const v1::GpuSpec& gpu, const std::string& path, Violations* violations) {
  // A single empty name stands for `name: []`: no model will do.
  if (gpu.name_size() == 1 && gpu.name(0).empty()) return;
  for (int i = 0; i < gpu.name_size(); ++i) {
    const std::string item = ItemPath(ChildPath(path, "name"), static_cast<size_t>(i));
    if (gpu.name(i).empty()) violations->Add(item, "must not be empty");
    violations->AddIf(item, CheckPlainText(gpu.name(i), kMaxNameBytes));
  }
}

void CheckEnvVar(const v1::EnvVar& variable, const std::string& path, Violations* violations) {
  const std::string& name = variable.name();
  if (name.empty()) violations->Add(path, "must have a name");
  if (name.find('=') != std::string::npos) violations->Add(path, "must not have `=` in the name");
  violations->AddIf(path, CheckPlainText(name, kMaxEnvNameBytes));
  if (variable.value().find('\0') != std::string::npos) {
    violations->Add(path, "must not have NUL characters");
  }
}

void CheckNormalPath(const std::string& value, const std::string& path, Violations* violations) {
  const absl::StatusOr<std::string> normal = NormaliseAbsolutePath(value);
  violations->AddIf(path, normal.status());
  if (value.size() > kMaxPathBytes) violations->Add(path, "is too long");
}

void CheckMount(const v1::VolumeMount& mount, const std::string& path, Violations* violations) {
  switch (mount.mount_case()) {
    case v1::VolumeMount::kNetwork:
      CheckNormalPath(mount.network().path(), ChildPath(path, "path"), violations);
      for (const std::string& name : mount.network().names()) {
        if (name.empty()) violations->Add(ChildPath(path, "name"), "must not be empty");
        violations->AddIf(ChildPath(path, "name"), CheckPlainText(name, kMaxNameBytes));
      }
      break;
    case v1::VolumeMount::kInstance:
      CheckNormalPath(mount.instance().path(), ChildPath(path, "path"), violations);
      CheckNormalPath(
          mount.instance().instance_path(), ChildPath(path, "instance_path"), violations);
      break;
    case v1::VolumeMount::MOUNT_NOT_SET:
      violations->Add(path, "must name a volume or a directory of the host");
      break;
  }
}

void CheckFile(const v1::FileMapping& file, const std::string& path, Violations* violations) {
  violations->AddIf(ChildPath(path, "path"), CheckFileTarget(file.path()));
  violations->AddIf(ChildPath(path, "path"), CheckPlainText(file.path(), kMaxPathBytes));
  violations->AddIf(ChildPath(path, "local_path"),
                    CheckPlainText(file.local_path(), kMaxPathBytes));
}

void CheckRepo(const v1::RepoSpec& repo, const std::string& path, Violations* violations) {
  const bool has_local = !repo.local_path().empty();
  const bool has_url = !repo.url().empty();
  if (has_local == has_url) {
    violations->Add(path, "must have exactly one of `local_path` and `url`");
  }
  if (!repo.path().empty())
    violations->AddIf(ChildPath(path, "path"), CheckRepoTarget(repo.path()));
  for (const auto& [key, value] : {std::pair{"url", &repo.url()},
                                   std::pair{"branch", &repo.branch()},
                                   std::pair{"hash", &repo.hash()},
                                   std::pair{"path", &repo.path()}}) {
    violations->AddIf(ChildPath(path, key), CheckPlainText(*value, kMaxPathBytes));
    // These reach the command line of git.
    if (value->starts_with("-")) violations->Add(ChildPath(path, key), "must not begin with `-`");
  }
}

void CheckSelector(const v1::InstanceSelector& selector,
                   const std::string& path,
                   Violations* violations) {
  const bool is_empty = selector.selector_case() == v1::InstanceSelector::SELECTOR_NOT_SET ||
                        (selector.has_name() && selector.name().empty()) ||
                        (selector.has_hostname() && selector.hostname().empty());
  if (is_empty) violations->Add(path, "must have `name`, `hostname`, or `fleet` with `instance`");
}

void CheckSchedule(const v1::Schedule& schedule, const std::string& path, Violations* violations) {
  const std::string cron = ChildPath(path, "cron");
  for (int i = 0; i < schedule.cron_size(); ++i) {
    const std::string item =
        schedule.cron_size() == 1 ? cron : ItemPath(cron, static_cast<size_t>(i));
    violations->AddIf(item, CronExpression::Parse(schedule.cron(i)).status());
  }
}

void CheckOffable(const v1::OffableDuration& duration,
                  const std::string& path,
                  Violations* violations) {
  const bool is_set = duration.has_duration() || (duration.has_off() && duration.off());
  if (!is_set) violations->Add(path, "must be a duration or `off`");
}

void CheckProfile(const v1::ProfileParams& params,
                  const std::string& path,
                  Violations* violations) {
  CheckTags(params.tags(), ChildPath(path, "tags"), violations);
  std::set<std::string> types;
  for (int i = 0; i < params.backend_options_size(); ++i) {
    if (types.insert(params.backend_options(i).type()).second) continue;
    violations->Add(
        ItemPath(ChildPath(path, "backend_options"), static_cast<size_t>(i)),
        fmt::format("gives the type `{}` a second time", params.backend_options(i).type()));
  }
}

void CheckBlocks(const v1::Blocks& blocks, const std::string& path, Violations* violations) {
  const bool is_set = blocks.has_count() || (blocks.has_auto_() && blocks.auto_());
  if (!is_set) violations->Add(path, "must be `auto` or a whole number, at least 1");
}

void CheckFleetNodes(const v1::FleetNodes& nodes, const std::string& path, Violations* violations) {
  const int64_t target = nodes.has_target() ? nodes.target() : nodes.min();
  if (target < nodes.min()) violations->Add(path, "must have a `target` that is not below `min`");
  if (nodes.has_max() && target > nodes.max()) {
    violations->Add(path, "must have a `max` that is not below `min` and `target`");
  }
}

void CheckGatewayChoice(const v1::GatewayChoice& gateway,
                        const std::string& path,
                        Violations* violations) {
  if (gateway.choice_case() == v1::GatewayChoice::CHOICE_NOT_SET) {
    violations->Add(path, "must be `true`, `false` or the name of a gateway");
  }
}

void CheckReference(const v1::EntityReference& reference,
                    const std::string& path,
                    Violations* violations) {
  violations->AddIf(path, CheckPlainText(reference.name(), kMaxNameBytes));
  if (reference.has_project() && reference.project().empty()) {
    violations->Add(path, "must be `NAME` or `PROJECT/NAME`");
  }
}

using TypeRule = void (*)(const Message&, const std::string&, Violations*);

template <typename Type, void (*kCheck)(const Type&, const std::string&, Violations*)>
void Adapted(const Message& message, const std::string& path, Violations* violations) {
  kCheck(static_cast<const Type&>(message), path, violations);
}

struct NamedRule {
  std::string_view type;  // without the package
  TypeRule check;
};

constexpr std::array kTypeRules = {
    NamedRule{"IntRange", Adapted<v1::IntRange, CheckIntRange>},
    NamedRule{"MemoryRange", Adapted<v1::MemoryRange, CheckMemoryRange>},
    NamedRule{"GpuSpec", Adapted<v1::GpuSpec, CheckGpu>},
    NamedRule{"EnvVar", Adapted<v1::EnvVar, CheckEnvVar>},
    NamedRule{"VolumeMount", Adapted<v1::VolumeMount, CheckMount>},
    NamedRule{"FileMapping", Adapted<v1::FileMapping, CheckFile>},
    NamedRule{"RepoSpec", Adapted<v1::RepoSpec, CheckRepo>},
    NamedRule{"InstanceSelector", Adapted<v1::InstanceSelector, CheckSelector>},
    NamedRule{"Schedule", Adapted<v1::Schedule, CheckSchedule>},
    NamedRule{"OffableDuration", Adapted<v1::OffableDuration, CheckOffable>},
    NamedRule{"ProfileParams", Adapted<v1::ProfileParams, CheckProfile>},
    NamedRule{"Blocks", Adapted<v1::Blocks, CheckBlocks>},
    NamedRule{"FleetNodes", Adapted<v1::FleetNodes, CheckFleetNodes>},
    NamedRule{"GatewayChoice", Adapted<v1::GatewayChoice, CheckGatewayChoice>},
    NamedRule{"EntityReference", Adapted<v1::EntityReference, CheckReference>},
};

}  // namespace

void CheckTags(const google::protobuf::Map<std::string, std::string>& tags,
               const std::string& path,
               Violations* violations) {
  if (tags.count("") > 0) violations->Add(path, "must not have an empty key");
  for (const auto& [key, value] : tags) {
    const std::string tag = ChildPath(path, Excerpt(key));
    if (const absl::Status status = CheckTagKey(key); !status.ok()) {
      violations->Add(tag, "the key " + std::string(status.message()));
    }
    violations->AddIf(tag, CheckTagValue(value));
  }
}

void CheckTypeRules(const Message& message, const std::string& path, Violations* violations) {
  for (const NamedRule& rule : kTypeRules) {
    if (rule.type == message.GetDescriptor()->name()) rule.check(message, path, violations);
  }
}

}  // namespace dstack::config
