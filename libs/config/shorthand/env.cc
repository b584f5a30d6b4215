#include "libs/config/shorthand/env.h"

#include <string>

#include "libs/config/names.h"
#include "libs/config/text.h"

namespace dstack::config {

absl::StatusOr<v1::EnvVar> ParseEnvVar(std::string_view text) {
  const size_t separator = text.find('=');
  const std::string_view name = text.substr(0, separator);
  if (absl::Status status = CheckEnvName(name); !status.ok()) return status;
  v1::EnvVar variable;
  variable.set_name(std::string(name));
  if (separator == std::string_view::npos) return variable;
  const std::string_view value = text.substr(separator + 1);
  if (value.find('\n') != std::string_view::npos) {
    return BrokenRule("must not have a line end in the list form; write `env` as a mapping");
  }
  variable.set_value(std::string(value));
  return variable;
}

}  // namespace dstack::config
