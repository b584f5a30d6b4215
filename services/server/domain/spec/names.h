#pragma once

#include <string>
#include <string_view>

namespace dstack::server {

// "RUN_STATUS_RUNNING" without its prefix, in lower case: "running". Words are the ones that users
// of the YAML and the CLI know.
std::string EnumWord(std::string_view value_name, std::string_view prefix);

// <run>-<job_num>-<replica_num>
std::string JobName(std::string_view run_name, unsigned job_num, unsigned replica_num);

}  // namespace dstack::server
