#pragma once

#include <chrono>
#include <string>

namespace dstack::rpc {

// Who calls, as an Authenticator found out. Empty for methods that anyone may call.
struct Identity {
  std::string user_id;
  std::string user_name;
  // May do everything in all projects.
  bool is_global_admin = false;
};

// One call as its handler sees it. A value: it may outlive the call.
struct Caller {
  // From metadata `x-request-id`, otherwise made by the server. Returned to the client under the
  // same key and part of every log line about the call.
  std::string request_id;
  // Address as gRPC names it, for example "ipv4:127.0.0.1:51234".
  std::string peer;
  Identity identity;
  // When the client gives up; the server's default when it did not say.
  std::chrono::system_clock::time_point deadline;
};

}  // namespace dstack::rpc
