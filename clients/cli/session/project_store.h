// The list of projects of this user: `~/.dstack/config.yml`.
#pragma once

#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/config/v1/client.pb.h"

namespace dstack::cli {

class ProjectStore {
 public:
  explicit ProjectStore(std::string path) : path_(std::move(path)) {}

  // The list; empty when there is no file. INVALID_ARGUMENT when the file cannot be understood: it
  // is never taken for empty, since the next Save would destroy it.
  absl::StatusOr<config::v1::ClientConfig> Load() const;

  // Replaces the file in one step, mode 0600.
  absl::Status Save(const config::v1::ClientConfig& config) const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Entry of that name; nullptr if there is none.
const config::v1::ClientProject* FindProject(const config::v1::ClientConfig& config,
                                             const std::string& name);

// The entry marked as default; nullptr if there is none.
const config::v1::ClientProject* DefaultProject(const config::v1::ClientConfig& config);

// Adds the entry or replaces the one of that name. It becomes the default when it is the first one
// or `is_default`; a default that it replaces stays one.
void PutProject(config::v1::ClientProject project,
                bool is_default,
                config::v1::ClientConfig* config);

// Makes that entry the only default. NOT_FOUND.
absl::Status SetDefaultProject(const std::string& name, config::v1::ClientConfig* config);

// NOT_FOUND if there is no such entry.
absl::Status RemoveProject(const std::string& name, config::v1::ClientConfig* config);

}  // namespace dstack::cli
