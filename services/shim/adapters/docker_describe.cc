#include "services/shim/adapters/docker_describe.h"

#include <nlohmann/json.hpp>

namespace dstack::shim {

using nlohmann::json;

std::string DescribeContainer(std::string_view inspect_body) {
  json object = json::parse(inspect_body, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return "";
  json& config = object["Config"];
  if (config.is_object() && config["Env"].is_array()) {
    for (json& entry : config["Env"]) {
      if (!entry.is_string()) continue;
      const std::string text = entry;
      entry = text.substr(0, text.find('='));
    }
  }
  return object.dump(2, ' ', false, json::error_handler_t::replace);
}

}  // namespace dstack::shim
