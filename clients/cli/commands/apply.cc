#include "clients/cli/commands/apply.h"

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::cli {

bool ConfirmApply(const Context& context,
                  const ApplyOptions& options,
                  const std::string& question,
                  Interrupts& interrupts) {
  if (options.yes) return true;
  if (context.terminal.Ask(question, interrupts) == Answer::kYes) return true;
  context.terminal.PrintLine("Exiting...");
  return false;
}

absl::StatusOr<int> Apply(const Context& context, const ApplyOptions& options) {
  if (options.file == "-" && !options.yes) {
    return base::Invalid("-f -: standard input cannot hold the file and the answers; use -y");
  }
  Interrupts interrupts(/*exit_code=*/0);
  ASSIGN_OR_RETURN(const DocumentFile document, LoadDocument(context, options.file));
  if (std::holds_alternative<config::v1::FleetConfiguration>(document.configuration)) {
    return ApplyFleet(context, options, document, interrupts);
  }
  return ApplyRun(context, options, document, interrupts);
}

}  // namespace dstack::cli
