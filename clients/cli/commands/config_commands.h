// `dstack config`: checks, shows and describes configuration files; needs no server.
#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct CheckConfigOptions {
  // Configurations, profiles, or settings of client or server; "-" is standard input. Empty:
  // `.dstack.yml`, else `.dstack.yaml`.
  std::vector<std::string> files;
  bool json = false;
};

// Tells what is wrong with each file. 0: nothing, 1: something in at least one of them.
absl::StatusOr<int> CheckConfigs(const Context& context, const CheckConfigOptions& options);

struct ShowConfigOptions {
  std::string file;
  std::string profile;
  bool no_profile = false;
  bool json = false;
  bool show_secrets = false;
};

// The canonical form of a file, with defaults and the profile filled in.
absl::StatusOr<int> ShowConfig(const Context& context, const ShowConfigOptions& options);

struct ConfigSchemaOptions {
  std::string type;  // empty: all configurations
};

// The JSON Schema of a type, for editors.
absl::StatusOr<int> PrintConfigSchema(const Context& context, const ConfigSchemaOptions& options);

}  // namespace dstack::cli
