// `apply`: makes the project look like a configuration file says.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/commands/context.h"
#include "clients/cli/commands/document_file.h"
#include "clients/cli/flags/run_flags.h"

namespace dstack::cli {

struct ApplyOptions {
  std::string file;
  std::string project;
  bool yes = false;
  bool force = false;
  bool detach = false;
  bool verbose = false;
  int max_offers = 3;
  // What the offers of the plan tell; neither: the share that a job would take.
  bool full_offers = false;
  bool unallocated = false;
  RunFlags flags;
};

// Reads the file and applies what it describes.
absl::StatusOr<int> Apply(const Context& context, const ApplyOptions& options);

// Parts of it, by kind. `interrupts` ends the program on Ctrl-C unless something is under way.
absl::StatusOr<int> ApplyRun(const Context& context,
                             const ApplyOptions& options,
                             const DocumentFile& document,
                             Interrupts& interrupts);
absl::StatusOr<int> ApplyFleet(const Context& context,
                               const ApplyOptions& options,
                               const DocumentFile& document,
                               Interrupts& interrupts);

// What the person answers to the question of `apply`; true without one if -y is given. A "no" and
// Ctrl-C print "Exiting...".
bool ConfirmApply(const Context& context,
                  const ApplyOptions& options,
                  const std::string& question,
                  Interrupts& interrupts);

}  // namespace dstack::cli
