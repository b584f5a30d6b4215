#include "libs/config/defaults.h"

#include <algorithm>
#include <string>
#include <vector>

#include "libs/config/accelerators.h"
#include "libs/config/shorthand/cpu.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

constexpr uint64_t kBytesPerGb = 1ULL << 30;
constexpr uint64_t kDefaultMemoryGb = 8;
constexpr uint64_t kDefaultDiskGb = 100;

v1::GpuVendor InferVendor(const v1::GpuSpec& gpu, bool has_default_image) {
  if (gpu.name().empty()) {
    return has_default_image ? v1::GPU_VENDOR_NVIDIA : v1::GPU_VENDOR_UNSPECIFIED;
  }
  const v1::GpuVendor first = VendorOfModel(gpu.name(0));
  const bool agree = std::all_of(gpu.name().begin(), gpu.name().end(), [&](const auto& name) {
    return VendorOfModel(name) == first;
  });
  return agree ? first : v1::GPU_VENDOR_UNSPECIFIED;
}

void FillGpu(bool has_default_image, v1::GpuSpec* gpu, bool is_given) {
  if (!gpu->has_count()) gpu->mutable_count()->set_min(is_given ? 1 : 0);
  const bool may_have_gpu = !gpu->count().has_max() || gpu->count().max() != 0;
  if (gpu->vendor() != v1::GPU_VENDOR_UNSPECIFIED || !may_have_gpu) return;
  const v1::GpuVendor vendor = InferVendor(*gpu, has_default_image);
  if (vendor != v1::GPU_VENDOR_UNSPECIFIED) gpu->set_vendor(vendor);
}

void FillTask(const v1::RunConfiguration& run, v1::TaskConfiguration* task) {
  const bool has_default_image = run.image().empty() && !run.docker();
  if (task->groups().empty() && !task->has_nodes()) task->set_nodes(1);
  for (int i = 0; i < task->groups_size(); ++i) {
    v1::NodeGroup* group = task->mutable_groups(i);
    if (!group->has_name()) group->set_name(std::to_string(i));
    if (!group->has_nodes()) group->set_nodes(1);
    ApplyResourceDefaults(has_default_image, group->mutable_resources());
  }
}

void FillScaling(v1::ScalingSpec* scaling) {
  constexpr int64_t kWindowSeconds = 60;
  constexpr int64_t kScaleUpSeconds = 300;
  constexpr int64_t kScaleDownSeconds = 600;
  if (!scaling->has_window()) *scaling->mutable_window() = ToDuration(kWindowSeconds);
  if (!scaling->has_scale_up_delay())
    *scaling->mutable_scale_up_delay() = ToDuration(kScaleUpSeconds);
  if (!scaling->has_scale_down_delay()) {
    *scaling->mutable_scale_down_delay() = ToDuration(kScaleDownSeconds);
  }
}

void FillGroup(const v1::RunConfiguration& run, int index, v1::ReplicaGroup* group) {
  if (!group->has_name()) group->set_name(std::to_string(index));
  if (group->has_scaling()) FillScaling(group->mutable_scaling());
  if (group->has_router() && group->router().type() == v1::ROUTER_TYPE_UNSPECIFIED) {
    group->mutable_router()->set_type(v1::ROUTER_TYPE_SGLANG);
  }
  const bool has_image = !run.image().empty() || !group->image().empty();
  const bool has_docker = run.docker() || group->docker();
  ApplyResourceDefaults(!has_image && !has_docker, group->mutable_resources());
}

void FillService(const v1::RunConfiguration& run, v1::ServiceConfiguration* service) {
  if (!service->has_auth()) service->set_auth(true);
  if (!service->has_strip_prefix()) service->set_strip_prefix(true);
  if (service->groups().empty() && !service->has_replicas()) {
    service->mutable_replicas()->set_min(1);
    service->mutable_replicas()->set_max(1);
  }
  if (service->has_scaling()) FillScaling(service->mutable_scaling());
  for (int i = 0; i < service->groups_size(); ++i) FillGroup(run, i, service->mutable_groups(i));
  for (v1::RateLimit& limit : *service->mutable_rate_limits()) {
    if (limit.prefix().empty()) limit.set_prefix("/");
    if (!limit.has_key()) limit.mutable_key()->set_type(v1::RATE_LIMIT_KEY_TYPE_IP_ADDRESS);
  }
  if (service->has_model()) {
    v1::ServiceModel* model = service->mutable_model();
    if (model->type().empty()) model->set_type("chat");
    const bool is_openai = model->format() == v1::MODEL_FORMAT_OPENAI;
    if (is_openai && model->prefix().empty()) model->set_prefix("/v1");
  }
}

bool IsCleared(const v1::ProfileParams& params, const std::string& name) {
  const auto& cleared = params.cleared_fields();
  return std::find(cleared.begin(), cleared.end(), name) != cleared.end();
}

bool IsGiven(const v1::ProfileParams& params, const FieldDescriptor& field) {
  const Reflection& reflection = *params.GetReflection();
  const bool is_set = field.is_repeated() ? reflection.FieldSize(params, &field) > 0
                                          : reflection.HasField(params, &field);
  return is_set || IsCleared(params, field.name());
}

// Copies one field whole by merging a message that has nothing else.
void TakeField(const v1::ProfileParams& from, const FieldDescriptor& field, v1::ProfileParams* to) {
  v1::ProfileParams only = from;
  std::vector<const FieldDescriptor*> fields;
  only.GetReflection()->ListFields(only, &fields);
  for (const FieldDescriptor* other : fields) {
    if (other != &field) only.GetReflection()->ClearField(&only, other);
  }
  to->MergeFrom(only);
  if (IsCleared(from, field.name())) to->add_cleared_fields(field.name());
}

bool IsKeyOf(const v1::YamlField& inlined, const std::string& key) {
  const auto& only = inlined.only();
  return only.empty() || std::find(only.begin(), only.end(), key) != only.end();
}

void MergeParams(const v1::ProfileParams& profile,
                 const v1::YamlField& inlined,
                 v1::ProfileParams* params) {
  const auto& type = *v1::ProfileParams::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (RulesOf(field).hidden() || !IsKeyOf(inlined, KeyName(field))) continue;
    if (IsGiven(profile, field) && !IsGiven(*params, field)) TakeField(profile, field, params);
  }
}

}  // namespace

void ApplyResourceDefaults(bool has_default_image, v1::Resources* resources) {
  v1::CpuSpec* cpu = resources->mutable_cpu();
  if (!cpu->has_count()) *cpu->mutable_count() = DefaultCpuCount();
  if (!resources->has_memory()) {
    resources->mutable_memory()->set_min_bytes(kDefaultMemoryGb * kBytesPerGb);
  }
  if (!resources->has_disk()) {
    resources->mutable_disk()->mutable_size()->set_min_bytes(kDefaultDiskGb * kBytesPerGb);
  }
  const bool has_gpu = resources->has_gpu();
  FillGpu(has_default_image, resources->mutable_gpu(), has_gpu);
}

void ApplyDefaults(v1::RunConfiguration* run) {
  if (!run->has_priority()) run->set_priority(0);
  if (run->home_dir().empty()) run->set_home_dir("/root");
  for (v1::RepoSpec& repo : *run->mutable_repos()) {
    if (repo.path().empty()) repo.set_path(".");
    if (repo.if_exists() == v1::REPO_EXISTS_ACTION_UNSPECIFIED) {
      repo.set_if_exists(v1::REPO_EXISTS_ACTION_ERROR);
    }
  }
  ApplyResourceDefaults(run->image().empty() && !run->docker(), run->mutable_resources());
  if (run->has_task()) FillTask(*run, run->mutable_task());
  if (run->has_service()) FillService(*run, run->mutable_service());
}

void ApplyDefaults(v1::FleetConfiguration* fleet) {
  if (!fleet->has_blocks()) fleet->mutable_blocks()->set_count(1);
  if (fleet->has_nodes() && !fleet->nodes().has_target()) {
    fleet->mutable_nodes()->set_target(fleet->nodes().min());
  }
  if (fleet->has_resources()) {
    ApplyResourceDefaults(/*has_default_image=*/false, fleet->mutable_resources());
  }
}

void ApplyDefaults(v1::GatewayConfiguration* gateway) {
  if (!gateway->has_public_ip()) gateway->set_public_ip(true);
  if (!gateway->has_certificate()) {
    gateway->mutable_certificate()->set_type(v1::CERTIFICATE_TYPE_LETS_ENCRYPT);
  }
}

void ApplyDefaults(v1::VolumeConfiguration* volume) {
  const bool needs_mode = volume->has_kubernetes() && volume->kubernetes().access_modes().empty();
  if (needs_mode) volume->mutable_kubernetes()->add_access_modes("ReadWriteOnce");
}

void ApplyDefaults(Configuration* configuration) {
  if (auto* run = std::get_if<v1::RunConfiguration>(configuration)) ApplyDefaults(run);
  if (auto* fleet = std::get_if<v1::FleetConfiguration>(configuration)) ApplyDefaults(fleet);
  if (auto* gateway = std::get_if<v1::GatewayConfiguration>(configuration)) ApplyDefaults(gateway);
  if (auto* volume = std::get_if<v1::VolumeConfiguration>(configuration)) ApplyDefaults(volume);
}

void MergeProfile(const v1::ProfileParams& profile, v1::RunConfiguration* run) {
  const auto* field = v1::RunConfiguration::descriptor()->FindFieldByName("profile");
  MergeParams(profile, RulesOf(*field), run->mutable_profile());
}

void MergeProfile(const v1::ProfileParams& profile, v1::FleetConfiguration* fleet) {
  if (fleet->has_ssh_config()) return;
  const auto* field = v1::FleetConfiguration::descriptor()->FindFieldByName("profile");
  MergeParams(profile, RulesOf(*field), fleet->mutable_profile());
}

}  // namespace dstack::config
