#include <thread>
#include <utility>

#include <fmt/format.h>

#include "clients/cli/commands/apply.h"
#include "clients/cli/commands/profiles.h"
#include "clients/cli/files/upload.h"
#include "clients/cli/flags/ssh_identity.h"
#include "clients/cli/follow/run_session.h"
#include "clients/cli/follow/run_watcher.h"
#include "clients/cli/render/plan_screen.h"
#include "clients/cli/render/run_table.h"
#include "clients/cli/render/text.h"
#include "clients/cli/repo/prepare.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/config/interpolate.h"
#include "libs/config/validate.h"

namespace dstack::cli {
namespace {

using api::v1::RunPlan;
using api::v1::RunSpec;
using RunStub = api::v1::RunService::Stub;

constexpr std::chrono::seconds kPlanTimeout{60};

// What follows from the plan.
enum class Decision { kCreate, kUpdate, kOverride, kNothing, kDeclined };

// The document with flags, variables and arguments in it.
absl::StatusOr<RunSpec> BuildSpec(const Context& context,
                                  const ApplyOptions& options,
                                  const DocumentFile& document) {
  RunSpec spec;
  config::v1::RunConfiguration& run = *spec.mutable_configuration();
  run = std::get<config::v1::RunConfiguration>(document.configuration);
  RETURN_IF_ERROR(ApplyRunFlags(options.flags, &run));
  RETURN_IF_ERROR(FillEnv(context.environment, run.mutable_env()));
  RETURN_IF_ERROR(config::InterpolateRun(options.flags.arguments, &run));
  RETURN_IF_ERROR(config::ValidateRun(run));
  spec.set_run_name(run.name());
  spec.set_configuration_path(document.shown_path);
  ASSIGN_OR_RETURN(
      const auto profile,
      ChooseProfile(context.environment, options.flags.profile, options.flags.no_profile));
  if (profile.has_value()) *spec.mutable_profile() = *profile;
  if (!options.flags.ssh_identity.empty()) {
    ASSIGN_OR_RETURN(*spec.mutable_ssh_public_key(),
                     ReadPublicKey(context.environment, options.flags.ssh_identity));
  }
  return spec;
}

absl::StatusOr<RunPlan> FetchPlan(Connection& connection,
                                  const RunSpec& spec,
                                  const ApplyOptions& options) {
  api::v1::PlanRunRequest request;
  request.set_project_name(connection.project());
  *request.mutable_run_spec() = spec;
  request.set_max_offers(static_cast<uint32_t>(options.max_offers));
  if (options.full_offers) request.set_offer_extent(api::v1::OFFER_EXTENT_WHOLE);
  if (options.unallocated) request.set_offer_extent(api::v1::OFFER_EXTENT_FREE);
  ASSIGN_OR_RETURN(api::v1::PlanRunResponse response,
                   connection.Call(connection.runs(), &RunStub::PlanRun, request, kPlanTimeout));
  return std::move(*response.mutable_plan());
}

Decision Confirmed(const Context& context,
                   const ApplyOptions& options,
                   Interrupts& interrupts,
                   const std::string& question,
                   Decision decision) {
  return ConfirmApply(context, options, question, interrupts) ? decision : Decision::kDeclined;
}

Decision DecideOnActiveRun(const Context& context,
                           const ApplyOptions& options,
                           const RunPlan& plan,
                           Interrupts& interrupts) {
  Terminal& terminal = context.terminal;
  const std::string name = Neutralise(plan.current_run().spec().run_name());
  if (plan.changed_fields().empty()) {
    terminal.PrintLine(fmt::format("Active run {} already exists. Detected no changes", name));
    if (options.yes && !options.force) {
      terminal.PrintLine("Use --force to apply anyway");
      return Decision::kNothing;
    }
  } else {
    const bool is_updatable = plan.action() == api::v1::APPLY_ACTION_UPDATE;
    terminal.PrintLine(
        fmt::format("Active run {} already exists. Detected changes that {} be "
                    "updated in-place:",
                    name,
                    is_updatable ? "can" : "cannot"));
    terminal.Print(ChangesText(plan.changes(), plan.changed_fields(), terminal.MessageScreen()));
    if (is_updatable) {
      return Confirmed(context, options, interrupts, "Update the run?", Decision::kUpdate);
    }
  }
  return Confirmed(context, options, interrupts, "Stop and override the run?", Decision::kOverride);
}

Decision Decide(const Context& context,
                const ApplyOptions& options,
                const RunPlan& plan,
                Interrupts& interrupts) {
  const bool is_active = plan.has_current_run() && !IsFinal(plan.current_run().status());
  if (is_active) return DecideOnActiveRun(context, options, plan, interrupts);
  const std::string& name = plan.effective_run_spec().configuration().name();
  const std::string question =
      name.empty() ? std::string("Submit a new run?") : fmt::format("Submit the run {}?", name);
  return Confirmed(context, options, interrupts, question, Decision::kCreate);
}

// Waits in a thread of its own, so that Ctrl-C is heard. CANCELLED when it was pressed.
absl::Status WaitUntilFinal(Connection& connection,
                            const std::string& run_id,
                            Interrupts& interrupts) {
  const base::RealClock clock;
  base::SeededRandom random;
  Stopper stopper;
  Reconnect reconnect(ReconnectPolicy(), {}, clock, random);
  absl::Status status;
  const bool was_collecting = interrupts.Collect(true);
  std::thread watcher([&] {
    status = WatchRun(
        connection, run_id, [](const api::v1::Run&) {}, reconnect, stopper);
    interrupts.Ring();
  });
  const auto woken = interrupts.Wait(std::chrono::milliseconds(-1));
  const bool is_interrupted = woken == Interrupts::Woken::kInterrupt;
  if (is_interrupted) stopper.Stop();
  watcher.join();
  interrupts.Collect(was_collecting);
  return is_interrupted ? absl::CancelledError("Operation interrupted") : status;
}

absl::Status StopCurrent(const Context& context,
                         Connection& connection,
                         const RunPlan& plan,
                         Interrupts& interrupts) {
  api::v1::StopRunsRequest request;
  request.set_project_name(connection.project());
  request.add_run_names(plan.current_run().spec().run_name());
  request.set_request_id(base::NewUuid());
  context.terminal.PrintLine("Stopping...", Style::kSecondary);
  RETURN_IF_ERROR(connection.Call(connection.runs(), &RunStub::StopRuns, request).status());
  return WaitUntilFinal(connection, plan.current_run().id(), interrupts);
}

absl::StatusOr<api::v1::Run> Submit(Connection& connection,
                                    const ApplyOptions& options,
                                    const RunSpec& spec,
                                    const RunPlan& plan,
                                    Decision decision) {
  api::v1::ApplyRunRequest request;
  request.set_project_name(connection.project());
  *request.mutable_run_spec() = spec;
  request.set_request_id(base::NewUuid());
  request.set_is_forced(options.force);
  if (decision == Decision::kUpdate) {
    request.set_current_run_id(plan.current_run().id());
    request.set_current_run_version(plan.current_run().version());
  }
  ASSIGN_OR_RETURN(api::v1::ApplyRunResponse response,
                   connection.Call(connection.runs(), &RunStub::ApplyRun, request));
  return std::move(*response.mutable_run());
}

absl::StatusOr<int> FollowRun(const Context& context,
                              const ApplyOptions& options,
                              Connection& connection,
                              Interrupts& interrupts,
                              const api::v1::Run& run) {
  const std::string name = Neutralise(run.spec().run_name());
  RunSession session(
      connection, context.terminal, interrupts, {.leaves_on_interrupt = options.yes});
  absl::StatusOr<int> code = session.Wait(run);
  if (code.ok()) return code;
  return base::Annotate(code.status(), "Run {} goes on, but cannot be followed", name);
}

void PrintSkipped(const Context& context, const std::vector<Archive>& archives) {
  for (const Archive& archive : archives) {
    for (const std::string& path : archive.skipped) {
      context.terminal.PrintWarning(
          fmt::format("files: {} is no file, directory or link and is left out", path));
    }
  }
}

// The repository, with the changes of a work tree as one more archive.
absl::Status AddRepo(const Context& context,
                     const ApplyOptions& options,
                     const DocumentFile& document,
                     Connection& connection,
                     RunSpec* spec,
                     std::vector<Archive>* archives) {
  if (spec->configuration().repos().empty()) return absl::OkStatus();
  // A path of the flags starts from where the person is, one of the document from where that is.
  const std::string& directory =
      options.flags.repo.empty() ? document.directory : context.environment.working_directory;
  ASSIGN_OR_RETURN(const uint64_t limit_bytes, UploadLimit(connection));
  ASSIGN_OR_RETURN(PreparedRepo repo,
                   PrepareRepo(context.environment, options.flags, directory, limit_bytes, spec));
  if (!repo.note.empty()) context.terminal.PrintLine(repo.note, Style::kSecondary);
  if (repo.diff.has_value()) archives->push_back(*std::move(repo.diff));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> ApplyRun(const Context& context,
                             const ApplyOptions& options,
                             const DocumentFile& document,
                             Interrupts& interrupts) {
  Terminal& terminal = context.terminal;
  // The output of the job owns standard output from the start, so that it is all there is.
  if (!options.detach) terminal.ReserveOutput();
  ASSIGN_OR_RETURN(RunSpec spec, BuildSpec(context, options, document));
  ASSIGN_OR_RETURN(const auto connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(std::vector<Archive> archives,
                   PackFiles(*connection, context.environment, document.directory, &spec));
  PrintSkipped(context, archives);
  RETURN_IF_ERROR(AddRepo(context, options, document, *connection, &spec, &archives));
  ASSIGN_OR_RETURN(const RunPlan plan, FetchPlan(*connection, spec, options));
  terminal.Print(RunPlanScreen(
      plan, options.verbose, static_cast<size_t>(options.max_offers), terminal.MessageScreen()));
  const Decision decision = Decide(context, options, plan, interrupts);
  if (decision == Decision::kNothing || decision == Decision::kDeclined) return 0;
  RETURN_IF_ERROR(UploadMissing(*connection, archives));
  if (decision == Decision::kOverride) {
    RETURN_IF_ERROR(StopCurrent(context, *connection, plan, interrupts));
  }
  ASSIGN_OR_RETURN(const api::v1::Run run, Submit(*connection, options, spec, plan, decision));
  if (!options.detach) return FollowRun(context, options, *connection, interrupts, run);
  terminal.PrintLine(fmt::format("Run {} {}, detaching...",
                                 Neutralise(run.spec().run_name()),
                                 decision == Decision::kUpdate ? "updated" : "submitted"));
  return 0;
}

}  // namespace dstack::cli
