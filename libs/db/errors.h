#pragma once

#include <exception>
#include <string>

#include <absl/status/status.h>

namespace dstack::db {

// What a failed attempt at a transaction calls for.
enum class Recovery {
  // Report it.
  kNone,
  // The transaction was rolled back because of others (serialization failure, deadlock): run it
  // again.
  kRetry,
  // The connection is gone and nothing was committed: run it again on another one.
  kReconnect,
};

struct Failure {
  absl::Status status;
  Recovery recovery = Recovery::kNone;
};

// Turns the exception in flight into a status. Call it from a catch block only.
// clang-format off
//   connection lost before COMMIT    UNAVAILABLE/DATABASE_UNAVAILABLE     kReconnect
//   connection lost during COMMIT    ABORTED/DATABASE_UNAVAILABLE         kNone: outcome unknown
//   serialization failure, deadlock  ABORTED/LEASE_LOST                   kRetry
//   cancelled by the deadline        DEADLINE_EXCEEDED                    kNone
//   disk or memory full              RESOURCE_EXHAUSTED/DATABASE_UNAVAILABLE
//   server starting or stopping      UNAVAILABLE/DATABASE_UNAVAILABLE     kReconnect
//   unique violation                 ALREADY_EXISTS/NAME_TAKEN, metadata "constraint"
//   anything else                    INTERNAL/INTERNAL
// clang-format on
Failure ClassifyCurrentException();

// Name of the violated constraint in the message of a unique violation; empty when there is none.
std::string ConstraintOf(const std::string& message);

}  // namespace dstack::db
