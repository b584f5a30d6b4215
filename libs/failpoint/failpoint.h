#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/status.h>

// Named places where a test makes the process fail. Unarmed they cost one relaxed atomic load.
//
//   FAILPOINT("server.after_insert");                    // crash and sleep act here
//   RETURN_IF_ERROR(FAILPOINT_STATUS("shim.create"));    // so does error
//
// Armed by the environment variable DSTACK_FAILPOINTS, read once at the first hit, or by Arm():
//
//   DSTACK_FAILPOINTS="server.after_insert=crash;shim.create=once:error"
//
// Actions: crash (SIGKILL to itself), exit (_exit 137), error (UNAVAILABLE), sleep(<ms>), off.
// Prefixes: once:<action> acts at the first hit only; after(<n>):<action> lets n hits pass first.
namespace dstack::failpoint {

// Thread-safe. INVALID_ARGUMENT names the action that is not understood.
absl::Status Arm(std::string_view name, std::string_view action);
void Disarm(std::string_view name);
void DisarmAll();

// Arms all of "name=action;name=action".
absl::Status ArmFromText(std::string_view text);

// How often an armed point was reached, acting or not.
std::uint64_t Hits(std::string_view name);

namespace internal {

enum class Mode { kUnread, kOff, kArmed };
extern std::atomic<Mode> mode;

absl::Status Hit(std::string_view name);

inline absl::Status Check(std::string_view name) {
  if (mode.load(std::memory_order_relaxed) == Mode::kOff) return absl::OkStatus();
  return Hit(name);
}

}  // namespace internal
}  // namespace dstack::failpoint

#define FAILPOINT_STATUS(name) ::dstack::failpoint::internal::Check(name)
#define FAILPOINT(name) static_cast<void>(::dstack::failpoint::internal::Check(name))
