#pragma once

#include <string>

#include "libs/base/ids.h"

// Places of sealed values, see SecretBox::Seal. A place never changes once values were sealed for
// it.
namespace dstack::server {

inline std::string FleetSpecPlace(const FleetId& id) { return "fleets.spec:" + id.str(); }
inline std::string FleetKeyPlace(const FleetId& id, const std::string& name) {
  return "fleet_keys.private_key:" + id.str() + ":" + name;
}
inline std::string ProjectKeyPlace(const ProjectId& id) {
  return "projects.ssh_private_key:" + id.str();
}
inline std::string UserKeyPlace(const UserId& id) { return "users.ssh_private_key:" + id.str(); }

}  // namespace dstack::server
