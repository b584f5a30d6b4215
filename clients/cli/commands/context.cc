#include "clients/cli/commands/context.h"

#include <utility>

#include "libs/base/macros.h"

namespace dstack::cli {

absl::StatusOr<std::unique_ptr<Connection>> Context::Connect(
    const std::string& project_flag) const {
  ASSIGN_OR_RETURN(Target target, ResolveTarget(project_flag, environment, store));
  return Connection::Open(std::move(target));
}

absl::StatusOr<bool> Context::Confirm(const std::string& question, bool is_yes) const {
  if (is_yes) return true;
  Interrupts interrupts(/*exit_code=*/1);
  const Answer answer = terminal.Ask(question, interrupts);
  if (answer == Answer::kInterrupted) return absl::CancelledError("Cancelled by user");
  return answer == Answer::kYes;
}

}  // namespace dstack::cli
