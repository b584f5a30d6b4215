#include "services/runner/repo/diff.h"

#include "libs/base/status.h"

namespace dstack::runner {

absl::Status ApplyDiff(Git& git, std::string diff) {
  if (diff.empty()) return absl::OkStatus();
  // A patch that was cut at its last line end is whole all the same.
  if (diff.back() != '\n') diff += '\n';
  // git takes no path that leaves the repository or leads through a link.
  return base::Annotate(git.Run({"apply", "--whitespace=nowarn", "-"}, "", diff).status(),
                        "applying the changes");
}

}  // namespace dstack::runner
