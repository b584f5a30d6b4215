// `${{ NAMESPACE.KEY }}` in the texts of a configuration.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "dstack/config/v1/run.pb.h"

namespace dstack::config {

struct InterpolationOptions {
  // Values by namespace and key: {"run": {"args": "--lr 1"}}.
  std::map<std::string, std::map<std::string, std::string>> values;
  // Namespaces whose references stay as they are, after a check of their form.
  std::set<std::string> kept_namespaces;
  // References to addresses of nodes, `groups[0].nodes[1].IP_ADDRESS`, stay as they are.
  bool keep_group_addresses = false;
};

// Replaces references from left to right. `$$` becomes `$`, so that `$${{ a.b }}` is the text
// `${{ a.b }}`; a `$` that begins no reference stays, and then hides later escapes up to the next
// reference, as in the reference system. Errors, INVALID_ARGUMENT, name what is wrong and never
// show a value: an illegal name, a missing `}}`, and all unknown names at once.
absl::StatusOr<std::string> Interpolate(std::string_view text, const InterpolationOptions& options);

// What a reference to the address of a node says.
struct GroupAddress {
  size_t group = 0;
  bool is_replica = false;  // `replicas[j]` of a service instead of `nodes[j]` of a task
  size_t member = 0;
};

// `groups[0].nodes[1].IP_ADDRESS`, without `${{` and `}}`. nullopt: something else.
std::optional<GroupAddress> ParseGroupAddress(std::string_view name);

// Replaces group addresses alone, by what `resolve` gives. Errors of `resolve` end it. Everything
// else, `$$` included, stays as it is, since the client has been over it once.
absl::StatusOr<std::string> ReplaceGroupAddresses(
    std::string_view text,
    const std::function<absl::StatusOr<std::string>(const GroupAddress&)>& resolve);

// The client's pass over a run. Commands: `${{ run.args }}` is `args`, quoted for the shell and
// joined; secrets and group addresses stay. Registry credentials and probes: `${{ env.NAME }}` is
// the variable of the run; secrets stay. All errors at once, with field paths.
absl::Status InterpolateRun(const std::vector<std::string>& args, v1::RunConfiguration* run);

// One word for a POSIX shell: as it is where that is safe, else in single quotes.
std::string ShellQuote(std::string_view word);

// Whether every group address in the commands names a node that the run has, of the right kind.
absl::Status CheckGroupAddresses(const v1::RunConfiguration& run);

}  // namespace dstack::config
