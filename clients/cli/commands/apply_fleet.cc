#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "clients/cli/commands/apply.h"
#include "clients/cli/commands/fleet_commands.h"
#include "clients/cli/follow/status_line.h"
#include "clients/cli/render/enum_word.h"
#include "clients/cli/render/fleet_table.h"
#include "clients/cli/render/plan_screen.h"
#include "clients/cli/render/text.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/config/validate.h"

namespace dstack::cli {
namespace {

using api::v1::Fleet;
using api::v1::FleetPlan;
using api::v1::FleetSpec;
using api::v1::Instance;
using FleetStub = api::v1::FleetService::Stub;

// There is no call that watches a fleet.
constexpr std::chrono::milliseconds kPollInterval{200};
// Larger files are no private keys.
constexpr size_t kMaxKeyBytes = 64 << 10;

enum class Decision { kApply, kRecreate, kNothing, kDeclined };

// Reads the key files that the document names.
class KeyReader {
 public:
  KeyReader(const Environment& environment, const std::string& directory, FleetSpec* spec)
      : environment_(environment), directory_(directory), spec_(spec) {}

  absl::Status ReadAll(const config::v1::SshConfig& ssh) {
    Read("ssh_config.identity_file", ssh.identity_file());
    Read("ssh_config.proxy_jump.identity_file", ssh.proxy_jump().identity_file());
    for (int i = 0; i < ssh.hosts_size(); ++i) {
      const std::string path = fmt::format("ssh_config.hosts[{}].", i);
      Read(path + "identity_file", ssh.hosts(i).identity_file());
      Read(path + "proxy_jump.identity_file", ssh.hosts(i).proxy_jump().identity_file());
    }
    return base::InvalidFields(wrong_);
  }

 private:
  void Read(const std::string& field, const std::string& file) {
    if (file.empty() || spec_->ssh_keys().contains(file)) return;
    const bool is_relative = file[0] != '/' && file[0] != '~';
    if (is_relative && directory_.empty()) {
      wrong_.push_back(
          {field, fmt::format("a relative path needs a configuration file ({})", file)});
      return;
    }
    const auto key = base::ReadFile(environment_.ResolvePath(file, directory_), kMaxKeyBytes);
    if (!key.ok()) {
      wrong_.push_back({field, std::string(base::Message(key.status()))});
    } else if (key->find("PRIVATE KEY") == std::string::npos) {
      wrong_.push_back({field, fmt::format("must be a file with a private key ({})", file)});
    } else {
      (*spec_->mutable_ssh_keys())[file] = *key;
    }
  }

  const Environment& environment_;
  const std::string& directory_;
  FleetSpec* spec_;
  std::vector<base::FieldViolation> wrong_;
};

absl::Status RefuseRunFlags(const RunFlags& flags) {
  std::vector<base::FieldViolation> wrong;
  for (const std::string& flag : flags.RunOnlyFlags()) {
    wrong.push_back({flag, "is for runs; a fleet takes --name and --env alone", ""});
  }
  return base::InvalidFields(wrong);
}

absl::StatusOr<FleetSpec> BuildSpec(const Context& context,
                                    const ApplyOptions& options,
                                    const DocumentFile& document) {
  RETURN_IF_ERROR(RefuseRunFlags(options.flags));
  FleetSpec spec;
  config::v1::FleetConfiguration& fleet = *spec.mutable_configuration();
  fleet = std::get<config::v1::FleetConfiguration>(document.configuration);
  if (!options.flags.name.empty()) fleet.set_name(options.flags.name);
  if (!options.flags.env.empty() && !fleet.has_ssh_config()) {
    return base::Invalid("--env: is for fleets with ssh_config");
  }
  RETURN_IF_ERROR(MergeEnv(options.flags.env, fleet.mutable_env()));
  RETURN_IF_ERROR(FillEnv(context.environment, fleet.mutable_env()));
  RETURN_IF_ERROR(config::ValidateFleet(fleet));
  spec.set_configuration_path(document.shown_path);
  if (fleet.has_ssh_config()) {
    RETURN_IF_ERROR(
        KeyReader(context.environment, document.directory, &spec).ReadAll(fleet.ssh_config()));
  }
  return spec;
}

absl::StatusOr<FleetPlan> FetchPlan(Connection& connection, const FleetSpec& spec) {
  api::v1::PlanFleetRequest request;
  request.set_project_name(connection.project());
  *request.mutable_fleet_spec() = spec;
  ASSIGN_OR_RETURN(api::v1::PlanFleetResponse response,
                   connection.Call(connection.fleets(), &FleetStub::PlanFleet, request));
  return std::move(*response.mutable_plan());
}

Decision DecideOnExisting(const Context& context,
                          const ApplyOptions& options,
                          const FleetPlan& plan,
                          Interrupts& interrupts) {
  Terminal& terminal = context.terminal;
  const std::string name = Neutralise(plan.current_fleet().name());
  std::string question = "Re-create the fleet?";
  Decision decision = Decision::kRecreate;
  if (plan.changed_fields().empty()) {
    terminal.PrintLine(fmt::format("Fleet {} already exists. Detected no changes", name));
    if (options.yes && !options.force) {
      terminal.PrintLine("Use --force to apply anyway");
      return Decision::kNothing;
    }
  } else {
    terminal.PrintLine(
        fmt::format("Fleet {} already exists. Detected changes that {} be updated "
                    "in-place:",
                    name,
                    plan.is_updatable() ? "can" : "cannot"));
    terminal.Print(ChangesText(plan.changes(), plan.changed_fields(), terminal.MessageScreen()));
    if (plan.is_updatable()) {
      question = "Update the fleet in-place?";
      decision = Decision::kApply;
    }
  }
  return ConfirmApply(context, options, question, interrupts) ? decision : Decision::kDeclined;
}

Decision Decide(const Context& context,
                const ApplyOptions& options,
                const FleetPlan& plan,
                Interrupts& interrupts) {
  if (plan.has_current_fleet()) return DecideOnExisting(context, options, plan, interrupts);
  const std::string& name = plan.effective_fleet_spec().configuration().name();
  if (!name.empty()) {
    context.terminal.PrintLine(fmt::format("Fleet {} does not exist yet.", Neutralise(name)));
  }
  return ConfirmApply(context, options, "Create the fleet?", interrupts) ? Decision::kApply
                                                                         : Decision::kDeclined;
}

// Waits one interval; CANCELLED on Ctrl-C.
absl::Status Pause(Interrupts& interrupts) {
  const bool was_collecting = interrupts.Collect(true);
  const auto woken = interrupts.Wait(kPollInterval);
  interrupts.Collect(was_collecting);
  if (woken == Interrupts::Woken::kInterrupt) return absl::CancelledError("interrupted");
  return absl::OkStatus();
}

absl::StatusOr<Fleet> Submit(Connection& connection,
                             const ApplyOptions& options,
                             const FleetSpec& spec,
                             const FleetPlan& plan,
                             Decision decision) {
  api::v1::ApplyFleetRequest request;
  request.set_project_name(connection.project());
  *request.mutable_fleet_spec() = spec;
  request.set_request_id(base::NewUuid());
  request.set_is_forced(options.force);
  if (decision == Decision::kApply && plan.has_current_fleet()) {
    request.set_current_fleet_id(plan.current_fleet().id());
  }
  ASSIGN_OR_RETURN(api::v1::ApplyFleetResponse response,
                   connection.Call(connection.fleets(), &FleetStub::ApplyFleet, request));
  return std::move(*response.mutable_fleet());
}

bool IsSettled(const Instance& instance) {
  switch (instance.status()) {
    case api::v1::INSTANCE_STATUS_PENDING:
    case api::v1::INSTANCE_STATUS_PROVISIONING:
    case api::v1::INSTANCE_STATUS_TERMINATING:
      return false;
    default:
      return true;
  }
}

// Instances that could not be set up are gone from the live fleet, or still in it as TERMINATED.
bool HasFailed(const Instance& instance) {
  return instance.status() == api::v1::INSTANCE_STATUS_TERMINATED &&
         instance.termination_reason() != api::v1::INSTANCE_TERMINATION_REASON_TERMINATED_BY_USER;
}

std::string ProgressText(const Fleet& fleet) {
  const auto settled = std::count_if(fleet.instances().begin(), fleet.instances().end(), IsSettled);
  return fmt::format(
      "Provisioning {}... {}/{} instances ready", fleet.name(), settled, fleet.instances_size());
}

// 1 if an instance failed.
int Report(const Context& context, const Fleet& fleet) {
  context.terminal.PrintTable(FleetTable({fleet}, {.now = std::chrono::system_clock::now()}));
  int code = 0;
  for (const Instance& instance : fleet.instances()) {
    if (!HasFailed(instance)) continue;
    code = 1;
    const std::string reason =
        instance.status_message().empty()
            ? EnumWord(api::v1::InstanceTerminationReason_Name(instance.termination_reason()),
                       "INSTANCE_TERMINATION_REASON_")
            : instance.status_message();
    context.terminal.PrintError(fmt::format("Instance {}: {}", instance.name(), reason));
  }
  return code;
}

absl::StatusOr<int> OnInterrupt(const Context& context,
                                const ApplyOptions& options,
                                Connection& connection,
                                Interrupts& interrupts,
                                const Fleet& fleet) {
  const std::string name = Neutralise(fleet.name());
  const bool can_ask = !options.yes && context.terminal.can_ask();
  const bool is_delete = can_ask && context.terminal.Ask("Delete the fleet before exiting?",
                                                         interrupts) == Answer::kYes;
  if (is_delete) {
    RETURN_IF_ERROR(RequestFleetDelete(connection, fleet.name()));
    context.terminal.PrintLine(fmt::format("Fleet {} deleted", name));
    return 0;
  }
  context.terminal.PrintLine(fmt::format(
      "Fleet {0} is being provisioned in the background: `dstack fleet list` shows it", name));
  return 0;
}

absl::StatusOr<int> WaitForInstances(const Context& context,
                                     const ApplyOptions& options,
                                     Connection& connection,
                                     Interrupts& interrupts,
                                     Fleet fleet) {
  StatusLine line(context.terminal);
  while (!std::all_of(fleet.instances().begin(), fleet.instances().end(), IsSettled)) {
    line.Show(ProgressText(fleet));
    if (!Pause(interrupts).ok()) {
      line.Close();
      return OnInterrupt(context, options, connection, interrupts, fleet);
    }
    ASSIGN_OR_RETURN(fleet, FetchFleet(connection, "", fleet.id()));
  }
  line.Close();
  return Report(context, fleet);
}

}  // namespace

absl::StatusOr<int> ApplyFleet(const Context& context,
                               const ApplyOptions& options,
                               const DocumentFile& document,
                               Interrupts& interrupts) {
  Terminal& terminal = context.terminal;
  ASSIGN_OR_RETURN(const FleetSpec spec, BuildSpec(context, options, document));
  ASSIGN_OR_RETURN(const auto connection, context.Connect(options.project));
  ASSIGN_OR_RETURN(const FleetPlan plan, FetchPlan(*connection, spec));
  terminal.Print(FleetPlanScreen(plan, terminal.MessageScreen()) + "\n");
  const Decision decision = Decide(context, options, plan, interrupts);
  if (decision == Decision::kNothing || decision == Decision::kDeclined) return 0;
  if (decision == Decision::kRecreate) {
    RETURN_IF_ERROR(DeleteFleetAndWait(*connection, plan.current_fleet(), interrupts));
  }
  ASSIGN_OR_RETURN(Fleet fleet, Submit(*connection, options, spec, plan, decision));
  if (!options.detach) {
    return WaitForInstances(context, options, *connection, interrupts, std::move(fleet));
  }
  terminal.PrintLine(fmt::format("Fleet {} submitted, detaching...", Neutralise(fleet.name())));
  return 0;
}

}  // namespace dstack::cli
