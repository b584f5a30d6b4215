#include "services/server/client_settings.h"

#include <algorithm>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/config/document.h"
#include "services/server/usecases/identity_usecases.h"

namespace dstack::server {
namespace {

constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kPrivateDir = 0700;

absl::StatusOr<config::v1::ClientConfig> Load(const std::string& path) {
  auto text = base::ReadFile(path, 1 << 20);
  if (absl::IsNotFound(text.status())) return config::v1::ClientConfig();
  if (!text.ok()) return text.status();
  return config::ParseClientConfig(*text, path);
}

}  // namespace

absl::StatusOr<ClientSettingsResult> UpdateClientSettings(
    const std::string& client_home,
    const std::string& url,
    const base::Secret& token,
    ClientUpdate update,
    const std::function<bool(const std::string& path)>& ask) {
  if (client_home.empty() || update == ClientUpdate::kNo) return ClientSettingsResult::kKept;
  const std::string path = base::JoinPath(client_home, "config.yml");
  ASSIGN_OR_RETURN(auto settings, Load(path));
  auto& projects = *settings.mutable_projects();
  auto entry = std::find_if(projects.begin(), projects.end(), [](const auto& project) {
    return project.name() == kDefaultProject;
  });
  if (entry != projects.end()) {
    if (entry->url() == url && entry->token() == token.Reveal())
      return ClientSettingsResult::kUnchanged;
    if (update == ClientUpdate::kAsk && !ask(path)) return ClientSettingsResult::kKept;
  }
  auto& project = entry != projects.end() ? *entry : *settings.add_projects();
  project.set_name(kDefaultProject);
  project.set_url(url);
  project.set_token(token.Reveal());
  const bool has_default = std::any_of(
      projects.begin(), projects.end(), [](const auto& other) { return other.is_default(); });
  if (!has_default) project.set_is_default(true);
  RETURN_IF_ERROR(base::MakeDirs(client_home, kPrivateDir));
  RETURN_IF_ERROR(base::WriteFileAtomic(path, config::PrintClientConfig(settings), kPrivateFile));
  return ClientSettingsResult::kWritten;
}

}  // namespace dstack::server
