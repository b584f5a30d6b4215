#include "clients/cli/session/project_store.h"

#include <utility>

#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/config/document.h"

namespace dstack::cli {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

absl::Status NotConfigured(const std::string& name) {
  return absl::NotFoundError(fmt::format("Project {} is not configured", name));
}

}  // namespace

absl::StatusOr<config::v1::ClientConfig> ProjectStore::Load() const {
  const auto text = base::ReadFile(path_, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return config::v1::ClientConfig();
  if (!text.ok()) return text.status();
  return config::ParseClientConfig(*text, path_);
}

absl::Status ProjectStore::Save(const config::v1::ClientConfig& config) const {
  RETURN_IF_ERROR(base::MakeDirs(path_.substr(0, path_.rfind('/')), 0700));
  return base::WriteFileAtomic(path_, config::PrintClientConfig(config), 0600);
}

const config::v1::ClientProject* FindProject(const config::v1::ClientConfig& config,
                                             const std::string& name) {
  for (const auto& project : config.projects()) {
    if (project.name() == name) return &project;
  }
  return nullptr;
}

const config::v1::ClientProject* DefaultProject(const config::v1::ClientConfig& config) {
  for (const auto& project : config.projects()) {
    if (project.is_default()) return &project;
  }
  return nullptr;
}

void PutProject(config::v1::ClientProject project,
                bool is_default,
                config::v1::ClientConfig* config) {
  const std::string name = project.name();
  config::v1::ClientProject* entry = nullptr;
  for (auto& known : *config->mutable_projects()) {
    if (known.name() == name) entry = &known;
  }
  const bool was_default = entry != nullptr && entry->is_default();
  if (entry == nullptr) entry = config->add_projects();
  *entry = std::move(project);
  entry->set_is_default(was_default);
  if (is_default || config->projects_size() == 1) SetDefaultProject(name, config).IgnoreError();
}

absl::Status SetDefaultProject(const std::string& name, config::v1::ClientConfig* config) {
  if (FindProject(*config, name) == nullptr) return NotConfigured(name);
  for (auto& project : *config->mutable_projects()) {
    project.set_is_default(project.name() == name);
  }
  return absl::OkStatus();
}

absl::Status RemoveProject(const std::string& name, config::v1::ClientConfig* config) {
  for (int i = 0; i < config->projects_size(); ++i) {
    if (config->projects(i).name() != name) continue;
    config->mutable_projects()->DeleteSubrange(i, 1);
    return absl::OkStatus();
  }
  return NotConfigured(name);
}

}  // namespace dstack::cli
