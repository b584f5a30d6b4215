// `ps`, `run get`, `stop`, `logs`.
#pragma once

#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "dstack/api/v1/run.pb.h"

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct PsOptions {
  std::string project;
  bool all = false;
  bool verbose = false;
  bool watch = false;
  bool json = false;
  // 0: not given.
  int last = 0;
};
absl::StatusOr<int> Ps(const Context& context, const PsOptions& options);

struct GetRunOptions {
  std::string project;
  // Exactly one is set.
  std::string name;
  std::string id;
  // Always; other forms may come.
  bool is_json = false;
};
absl::StatusOr<int> GetRun(const Context& context, const GetRunOptions& options);

// One run by name or, if that is empty, by id.
absl::StatusOr<api::v1::Run> FetchRun(Connection& connection,
                                      const std::string& name,
                                      const std::string& id);

struct StopOptions {
  std::string project;
  std::vector<std::string> names;
  bool abort = false;
  bool yes = false;
};
absl::StatusOr<int> StopRuns(const Context& context, const StopOptions& options);

struct LogsOptions {
  std::string project;
  std::string name;
  bool diagnose = false;
  uint32_t replica = 0;
  uint32_t job = 0;
  std::string since;
};
// Stored records, and of a run that is active what comes after them, until its log ends.
absl::StatusOr<int> Logs(const Context& context, const LogsOptions& options);

}  // namespace dstack::cli
