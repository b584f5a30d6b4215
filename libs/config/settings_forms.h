// Grammars of the types that only services, gateways, presets, templates and the settings of the
// server have; see forms.h for those that all runs and fleets share.
#pragma once

#include <string>

#include <google/protobuf/message.h>

#include "libs/config/node.h"

namespace dstack::config {

class YamlReader;

// Reads `node`, which is not null, by the grammar of the type of `message`. False where the type
// has none of these. Problems are recorded in `reader`.
bool ReadSettingsForm(const Node& node,
                      const std::string& path,
                      google::protobuf::Message* message,
                      YamlReader* reader);

}  // namespace dstack::config
