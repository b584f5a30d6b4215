#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"

namespace dstack::server {

// A connection of its own to the agent behind a local Unix socket. The first attempt decides: a
// call on it fails at once with UNAVAILABLE when nobody answers, so that the caller sets the pace
// of retries.
std::shared_ptr<grpc::Channel> MakeAgentChannel(const std::string& socket);

}  // namespace dstack::server
