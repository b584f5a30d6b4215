// What a run that has ended means for the person and the shell.
#pragma once

#include <string>

#include "dstack/api/v1/run.pb.h"

namespace dstack::cli {

// 0 when the run is done. When it failed because a command ended with an error: the exit status of
// the first such command, in the order of the jobs. 1 in all other cases.
int ExitCode(const api::v1::Run& run);

// "Done", "Failed (exited (3))", with the reason on a line of its own where there is one.
std::string OutcomeText(const api::v1::Run& run);

// Why the run ended, in words; empty when the status says it all.
std::string ReasonText(const api::v1::Run& run);

// The diagnostics of the agents can explain the outcome.
bool HasDiagnostics(const api::v1::Run& run);

}  // namespace dstack::cli
