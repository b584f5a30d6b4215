#pragma once

#include <string>
#include <vector>

#include "dstack/config/v1/run.pb.h"

#include "libs/base/status.h"

namespace dstack::server {

// `${{ ... }}` on the server's side. The client has been over commands, registry credentials and
// probes already; here come the values of variables and, once more, registry credentials. Pure.

// What cannot be replaced, each with its path: references that are illegal or unknown, those to
// secrets, and addresses of nodes.
std::vector<base::FieldViolation> FindPlaceholderViolations(
    const config::v1::RunConfiguration& run);

// The text as the job gets it: `$$` is `$`. Texts that FindPlaceholderViolations refuses stay as
// they are.
std::string ReplacePlaceholders(const std::string& text);

}  // namespace dstack::server
