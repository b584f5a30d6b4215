#include "services/runner/state/image_config.h"

#include <nlohmann/json.hpp>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::runner {
namespace {

using nlohmann::json;

absl::Status ReadStrings(const json& document, const char* name, std::vector<std::string>* out) {
  const auto member = document.find(name);
  if (member == document.end() || member->is_null()) return absl::OkStatus();
  if (!member->is_array()) return base::InvalidField(name, "must be a list of strings");
  for (const json& item : *member) {
    if (!item.is_string()) return base::InvalidField(name, "must be a list of strings");
    out->push_back(item.get<std::string>());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ImageConfig::Command() const {
  std::vector<std::string> command = entrypoint;
  command.insert(command.end(), cmd.begin(), cmd.end());
  return command;
}

absl::StatusOr<ImageConfig> ParseImageConfig(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return base::Invalid("the image config is not a JSON object");
  ImageConfig config;
  RETURN_IF_ERROR(ReadStrings(document, "entrypoint", &config.entrypoint));
  RETURN_IF_ERROR(ReadStrings(document, "cmd", &config.cmd));
  if (const auto user = document.find("user"); user != document.end() && user->is_string()) {
    config.user = user->get<std::string>();
  }
  return config;
}

absl::StatusOr<ImageConfig> LoadImageConfig(const std::string& path) {
  const auto bytes = base::ReadFile(path);
  if (bytes.status().code() == absl::StatusCode::kNotFound) return ImageConfig{};
  RETURN_IF_ERROR(bytes.status());
  auto config = ParseImageConfig(*bytes);
  return config.ok() ? std::move(config) : base::Annotate(config.status(), "{}", path);
}

}  // namespace dstack::runner
