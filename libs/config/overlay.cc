#include "libs/config/overlay.h"

#include <cstdlib>
#include <map>
#include <set>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/config/names.h"
#include "libs/config/problem.h"
#include "libs/config/shorthand/cpu.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/shorthand/env.h"
#include "libs/config/shorthand/gpu.h"
#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/port.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

absl::Status Wrong(std::string_view field, const absl::Status& rule, std::string_view value) {
  return base::InvalidField(field, fmt::format("{} (`{}`)", base::Message(rule), Excerpt(value)));
}

// Stores a parsed value, or tells what is wrong with it.
template <typename Value>
absl::Status Take(std::string_view field,
                  std::string_view text,
                  const absl::StatusOr<Value>& value,
                  Value* target) {
  if (!value.ok()) return Wrong(field, value.status(), text);
  *target = *value;
  return absl::OkStatus();
}

template <typename List>
void Unclear(const char* name, List* cleared) {
  for (int i = cleared->size() - 1; i >= 0; --i) {
    if ((*cleared)[i] == name) cleared->erase(cleared->begin() + i);
  }
}

absl::Status CheckPortsOnce(const google::protobuf::RepeatedPtrField<v1::PortMapping>& ports) {
  std::set<int32_t> local_ports;
  std::set<int32_t> container_ports;
  for (const v1::PortMapping& port : ports) {
    if (!container_ports.insert(port.container_port()).second) {
      return base::InvalidField(
          "ports", fmt::format("uses the container port {} a second time", port.container_port()));
    }
    if (port.has_local_port() && !local_ports.insert(port.local_port()).second) {
      return base::InvalidField(
          "ports", fmt::format("uses the local port {} a second time", port.local_port()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetResource(std::string_view key, std::string_view text, v1::Resources* resources) {
  const std::string field = ChildPath("resources", key);
  if (key == "cpu") return Take(field, text, ParseCpu(text), resources->mutable_cpu());
  if (key == "gpu") return Take(field, text, ParseGpu(text), resources->mutable_gpu());
  if (key == "memory")
    return Take(field, text, ParseMemoryRange(text), resources->mutable_memory());
  if (key == "disk") {
    return Take(field, text, ParseMemoryRange(text), resources->mutable_disk()->mutable_size());
  }
  if (key != "shm_size") {
    return base::InvalidField(field, "must be `cpu`, `gpu`, `memory`, `disk` or `shm_size`");
  }
  uint64_t bytes = 0;
  RETURN_IF_ERROR(Take(field, text, ParseMemory(text), &bytes));
  resources->set_shm_size_bytes(bytes);
  return absl::OkStatus();
}

absl::Status SetEnv(std::string_view text, google::protobuf::RepeatedPtrField<v1::EnvVar>* env) {
  const absl::StatusOr<v1::EnvVar> variable = ParseEnvVar(text);
  if (!variable.ok()) return base::InvalidField("env", base::Message(variable.status()));
  for (v1::EnvVar& known : *env) {
    if (known.name() != variable->name()) continue;
    known = *variable;
    return absl::OkStatus();
  }
  *env->Add() = *variable;
  return absl::OkStatus();
}

absl::Status ResolveEnv(google::protobuf::RepeatedPtrField<v1::EnvVar>* env) {
  std::vector<base::FieldViolation> violations;
  for (int i = 0; i < env->size(); ++i) {
    v1::EnvVar& variable = *env->Mutable(i);
    if (variable.has_value()) continue;
    if (const char* value = std::getenv(variable.name().c_str())) {
      variable.set_value(value);
      continue;
    }
    violations.push_back({.field = ItemPath("env", static_cast<size_t>(i)),
                          .description = fmt::format(
                              "`{}` is not set in the environment; set it, or use -e {}=VALUE",
                              Excerpt(variable.name()),
                              Excerpt(variable.name())),
                          .reason = {}});
  }
  return base::InvalidFields(violations);
}

absl::Status MergePorts(const std::vector<std::string>& texts,
                        google::protobuf::RepeatedPtrField<v1::PortMapping>* ports) {
  if (texts.empty()) return absl::OkStatus();
  google::protobuf::RepeatedPtrField<v1::PortMapping> given;
  for (const std::string& text : texts) {
    RETURN_IF_ERROR(Take("ports", text, ParsePort(text), given.Add()));
  }
  RETURN_IF_ERROR(CheckPortsOnce(given));
  for (const v1::PortMapping& flag : given) {
    bool is_known = false;
    for (v1::PortMapping& port : *ports) {
      if (port.container_port() != flag.container_port()) continue;
      port = flag;
      is_known = true;
    }
    if (!is_known) *ports->Add() = flag;
  }
  return CheckPortsOnce(*ports);
}

absl::StatusOr<v1::SpotPolicy> ParseSpotPolicy(std::string_view text) {
  if (text == "spot") return v1::SPOT_POLICY_SPOT;
  if (text == "on-demand") return v1::SPOT_POLICY_ON_DEMAND;
  if (text == "auto") return v1::SPOT_POLICY_AUTO;
  return Wrong("spot_policy", BrokenRule("must be `spot`, `on-demand` or `auto`"), text);
}

absl::Status SetFleets(const std::vector<std::string>& texts, v1::ProfileParams* params) {
  google::protobuf::RepeatedPtrField<v1::EntityReference> fleets;
  for (const std::string& text : texts) {
    RETURN_IF_ERROR(Take("fleets", text, ParseEntityReference(text), fleets.Add()));
  }
  params->mutable_fleets()->Swap(&fleets);
  Unclear("fleets", params->mutable_cleared_fields());
  return absl::OkStatus();
}

absl::Status SetMaxDuration(std::string_view text, v1::ProfileParams* params) {
  return Take("max_duration", text, ParseOffableDuration(text), params->mutable_max_duration());
}

absl::Status SetIdleDuration(std::string_view text, v1::ProfileParams* params) {
  const absl::StatusOr<int64_t> seconds = ParseSeconds(text);
  if (seconds.ok() && *seconds < 0) {
    params->mutable_idle_duration()->set_off(true);
    return absl::OkStatus();
  }
  return Take("idle_duration", text, ParseOffableDuration(text), params->mutable_idle_duration());
}

absl::Status SetRetryDuration(std::string_view text, v1::ProfileParams* params) {
  v1::RetryPolicy retry;
  retry.set_enabled(true);
  RETURN_IF_ERROR(Take("retry.duration", text, ParseDuration(text), retry.mutable_duration()));
  *params->mutable_retry() = retry;
  return absl::OkStatus();
}

}  // namespace dstack::config
