#pragma once

#include <string>

#include "libs/base/ids.h"
#include "libs/base/secret.h"

namespace dstack::server {

// What the runner of a job demands on every call: HMAC-SHA256 of the job's id under the
// installation's key, 64 hexadecimal digits. Any replica can compute it, and nothing needs to be
// stored.
std::string RunnerToken(const base::Secret& token_key, const JobId& job);

}  // namespace dstack::server
