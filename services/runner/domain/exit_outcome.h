#pragma once

#include <cstdint>
#include <string>

#include "dstack/runner/v1/job.pb.h"
#include "services/runner/control/control.pb.h"

namespace dstack::runner {

// Exit status of a process that ended in one of these ways without an exit status of its own.
inline constexpr int kExitNotStarted = 125;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;
inline constexpr int kExitSignalBase = 128;

// Puts exit status or signal of a wait status into the record.
void SetWaitStatus(int wait_status, control::ExitRecord* record);

// What a person needs to know when the kernel killed processes of the job for want of memory:
// whether the command was one of them, and the limit (0: not known; a limit that no machine reaches
// is none).
std::string DescribeOom(const control::ExitRecord& record,
                        std::uint64_t kills,
                        std::uint64_t limit_bytes);

// Copies what the record knows into a status that becomes FINISHED.
void FillFinished(const control::ExitRecord& record, v1::JobStatus* status);

// Exit status of the supervisor for a finished job: the command's own, 128 + n after signal n, 143
// when it was stopped before its start, 125 when it never ran or its end was not seen.
int SupervisorExitStatus(const v1::JobStatus& status);

}  // namespace dstack::runner
