#pragma once

#include <optional>
#include <string>

#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"

namespace dstack::server {

// A write that a client may repeat.
struct Request {
  ProjectId project;
  UserId user;
  std::string id;      // empty: not protected
  std::string digest;  // of the content
};

// Records that `request` makes `result`. Returns nullopt when this is the first time (a concurrent
// first one is waited for), otherwise the result that the first one made.
// INVALID_ARGUMENT/REQUEST_ID_REUSED when its content was another.
absl::StatusOr<std::optional<std::string>> RecordRequest(pqxx::work& tx,
                                                         const Request& request,
                                                         const std::string& result);

}  // namespace dstack::server
