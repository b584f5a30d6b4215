#pragma once

#include <cstdint>
#include <string>

#include "services/runner/domain/job_env.h"

namespace dstack::runner {

struct SshdConfig {
  std::string listen_address;  // empty: all addresses
  std::uint16_t port = 0;
  std::string host_key;
  std::string authorized_keys;
  // For every session; what cannot be written in a configuration (line breaks) and what a session
  // sets itself is left out.
  Environment environment;
};

// Content of sshd_config: keys only, no PAM, forwards allowed. Pure.
std::string RenderSshdConfig(const SshdConfig& config);

}  // namespace dstack::runner
