#include "clients/cli/app.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "clients/cli/commands/apply.h"
#include "clients/cli/commands/config_commands.h"
#include "clients/cli/commands/delete.h"
#include "clients/cli/commands/fleet_commands.h"
#include "clients/cli/commands/local_commands.h"
#include "clients/cli/commands/metrics_command.h"
#include "clients/cli/commands/project_commands.h"
#include "clients/cli/commands/run_commands.h"
#include "clients/cli/session/environment.h"
#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/base/version.h"

namespace dstack::cli {
namespace {

using Action = std::function<absl::StatusOr<int>(const Context&)>;

constexpr int kUsageError = 2;

// The command that was named; empty: none.
using Chosen = std::shared_ptr<Action>;

template <typename Options>
using Command = absl::StatusOr<int> (*)(const Context&, const Options&);

// Options that live as long as the parser's callbacks.
template <typename Options>
std::shared_ptr<Options> Bind(CLI::App* app, const Chosen& chosen, Command<Options> command) {
  auto options = std::make_shared<Options>();
  app->callback([chosen, command, options] {
    // Subcommands come first; a bare `fleet` is the list only where none was named.
    if (*chosen) return;
    *chosen = [command, options](const Context& context) { return command(context, *options); };
  });
  return options;
}

void AddProjectFlag(CLI::App* app, std::string* project) {
  app->add_option(
      "--project", *project, "Project (default: $DSTACK_PROJECT, else the default one)");
}

void AddYesFlag(CLI::App* app, bool* yes) { app->add_flag("-y,--yes", *yes, "Do not ask"); }

void AddResourceFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Resources";
  app->add_option("--cpu", flags->cpu, "CPU, such as 4.. or arm:8")->group(group);
  app->add_option("--gpu", flags->gpu, "GPU, such as 24GB.. or A100:2")->group(group);
  app->add_option("--memory", flags->memory, "Memory, such as 16GB..")->group(group);
  app->add_option("--disk", flags->disk, "Disk, such as 100GB..")->group(group);
}

void AddProfileFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Profile";
  auto* profile = app->add_option("--profile", flags->profile, "Profile")->group(group);
  app->add_flag("--no-profile", flags->no_profile, "Use no profile")
      ->excludes(profile)
      ->group(group);
  app->add_option("--max-price", flags->max_price, "Dollars per hour at most")->group(group);
  app->add_option("--max-duration", flags->max_duration, "Duration, or off")->group(group);
  app->add_option("-b,--backend", flags->backends, "Backend (repeatable)")
      ->group(group)
      ->allow_extra_args(false);
  app->add_option("-r,--region", flags->regions, "Region (repeatable)")
      ->group(group)
      ->allow_extra_args(false);
  app->add_option("--instance-type", flags->instance_types, "Instance type (repeatable)")
      ->group(group)
      ->allow_extra_args(false);
}

void AddFleetFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Fleets";
  app->add_option("--fleet", flags->fleets, "Fleet (repeatable)")
      ->group(group)
      ->allow_extra_args(false);
  auto* reuse = app->add_flag("-R,--reuse", flags->reuse, "Use existing instances alone");
  auto* keep = app->add_flag("--dont-destroy", flags->dont_destroy, "Keep idle instances");
  auto* idle =
      app->add_option("--idle-duration", flags->idle_duration, "Keep idle instances so long");
  reuse->excludes(keep)->excludes(idle)->group(group);
  keep->excludes(idle)->group(group);
  idle->group(group);
}

void AddSpotFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Spot policy";
  auto* spot = app->add_flag("--spot", flags->spot, "Spot instances alone")->group(group);
  auto* fixed = app->add_flag("--on-demand", flags->on_demand, "No spot instances")->group(group);
  auto* any = app->add_flag("--spot-auto", flags->spot_auto, "Either kind")->group(group);
  auto* policy = app->add_option("--spot-policy", flags->spot_policy, "spot, on-demand or auto");
  policy->group(group);
  spot->excludes(fixed)->excludes(any)->excludes(policy);
  fixed->excludes(any)->excludes(policy);
  any->excludes(policy);
}

void AddRetryFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Retry policy";
  auto* retry = app->add_flag("--retry", flags->retry, "Retry failed jobs")->group(group);
  auto* never = app->add_flag("--no-retry", flags->no_retry, "Never retry")->group(group);
  auto* how_long = app->add_option("--retry-duration", flags->retry_duration, "Retry for so long");
  how_long->group(group);
  retry->excludes(never)->excludes(how_long);
  never->excludes(how_long);
}

void AddRepoFlags(CLI::App* app, RunFlags* flags) {
  const char* group = "Repository";
  auto* repo = app->add_option("-P,--repo", flags->repo, "Address, or path of a git work tree");
  app->add_flag("--no-repo", flags->no_repo, "Use no repository")->excludes(repo)->group(group);
  app->add_option("--repo-branch", flags->repo_branch, "Branch of an address")->group(group);
  app->add_option("--repo-hash", flags->repo_hash, "Commit of an address")->group(group);
  app->add_option("-t,--token", flags->token, "OAuth token of a private repository")->group(group);
  app->add_option("--git-identity", flags->git_identity, "Private key for a private repository")
      ->group(group);
  repo->group(group);
}

void DeclareApply(CLI::App* app, const Chosen& chosen, const std::vector<std::string>& arguments) {
  CLI::App* apply = app->add_subcommand("apply", "Create or update what a file describes");
  const auto options = Bind<ApplyOptions>(apply, chosen, &Apply);
  options->flags.arguments = arguments;
  apply->add_option(
      "-f,--file", options->file, "Configuration file (default: .dstack.yml); - is standard input");
  AddYesFlag(apply, &options->yes);
  apply->add_flag("--force", options->force, "Apply even when nothing changed");
  apply->add_flag("-d,--detach", options->detach, "Return after submission");
  apply->add_flag("-v,--verbose", options->verbose, "Show rows with default values");
  AddProjectFlag(apply, &options->project);
  apply->add_option("-n,--name", options->flags.name, "Name");
  apply->add_option("--max-offers", options->max_offers, "Rows of offers (default: 3)")
      ->check(CLI::Range(1, 1000));
  auto* full = apply->add_flag("--full-offers", options->full_offers, "Offers tell whole hosts");
  apply->add_flag("--unallocated", options->unallocated, "Offers tell what of a host is free")
      ->excludes(full);
  apply->add_option(
      "--ssh-identity", options->flags.ssh_identity, "Private key for logging in (PATH.pub too)");
  apply->add_option("-e,--env", options->flags.env, "KEY=VALUE, or KEY from here (repeatable)")
      ->allow_extra_args(false);
  apply->add_option("-p,--port", options->flags.ports, "PORT or LOCAL:PORT (repeatable)")
      ->allow_extra_args(false);
  AddResourceFlags(apply, &options->flags);
  AddProfileFlags(apply, &options->flags);
  AddFleetFlags(apply, &options->flags);
  AddSpotFlags(apply, &options->flags);
  AddRetryFlags(apply, &options->flags);
  AddRepoFlags(apply, &options->flags);
  apply->footer("Everything after -- becomes ${{ run.args }} in the commands.");
}

void DeclarePs(CLI::App* app, const Chosen& chosen) {
  CLI::App* ps = app->add_subcommand("ps", "List runs");
  const auto options = Bind<PsOptions>(ps, chosen, &Ps);
  AddProjectFlag(ps, &options->project);
  ps->add_flag("-a,--all", options->all, "All runs, not only unfinished ones");
  ps->add_flag("-v,--verbose", options->verbose, "More columns");
  auto* watch = ps->add_flag("-w,--watch", options->watch, "Show changes until Ctrl-C");
  ps->add_option("-n,--last", options->last, "The newest N runs")->check(CLI::Range(1, 100));
  ps->add_flag("--json", options->json, "JSON")->excludes(watch);
}

void DeclareLogs(CLI::App* app, const Chosen& chosen) {
  CLI::App* logs = app->add_subcommand("logs", "Print the output of a run, until it ends");
  const auto options = Bind<LogsOptions>(logs, chosen, &Logs);
  logs->add_option("run", options->name, "Run")->required();
  AddProjectFlag(logs, &options->project);
  logs->add_flag("-d,--diagnose", options->diagnose, "What the agent did, not the program");
  logs->add_option("--replica", options->replica, "Replica (default: 0)");
  logs->add_option("--job", options->job, "Job of the replica (default: 0)");
  logs->add_option("--since", options->since, "Duration back from now, or RFC 3339 time");
}

void DeclareMetrics(CLI::App* app, const Chosen& chosen) {
  CLI::App* metrics = app->add_subcommand("metrics", "Show what a run uses");
  const auto options = Bind<MetricsOptions>(metrics, chosen, &Metrics);
  metrics->add_option("run", options->name, "Run")->required();
  AddProjectFlag(metrics, &options->project);
  metrics->add_flag("-w,--watch", options->watch, "Show changes until Ctrl-C");
  metrics->add_option("--replica", options->replica, "Only this replica");
  metrics->add_option("--job", options->job, "Only this job of the replicas");
}

void DeclareStop(CLI::App* app, const Chosen& chosen) {
  CLI::App* stop = app->add_subcommand("stop", "Stop runs");
  const auto options = Bind<StopOptions>(stop, chosen, &StopRuns);
  stop->add_option("run", options->names, "Runs")->required();
  AddProjectFlag(stop, &options->project);
  stop->add_flag("-x,--abort", options->abort, "Without grace");
  AddYesFlag(stop, &options->yes);
}

// By name or by --id, with the mandatory --json of the `get` commands.
template <typename Options>
void AddGetFlags(CLI::App* get, const std::shared_ptr<Options>& options, const char* noun) {
  auto* name = get->add_option("name", options->name, noun);
  auto* id = get->add_option("--id", options->id, "By id");
  id->excludes(name);
  get->add_flag("--json", options->is_json, "JSON")->required();
  AddProjectFlag(get, &options->project);
  get->parse_complete_callback([options] {
    if (options->name.empty() && options->id.empty()) throw CLI::RequiredError("name or --id");
  });
}

void DeclareRun(CLI::App* app, const Chosen& chosen) {
  CLI::App* run = app->add_subcommand("run", "One run");
  run->require_subcommand(1);
  CLI::App* get = run->add_subcommand("get", "One run as JSON");
  AddGetFlags(get, Bind<GetRunOptions>(get, chosen, &GetRun), "Run");
  CLI::App* remove = run->add_subcommand("delete", "Delete runs that have ended");
  const auto options = Bind<DeleteRunsOptions>(remove, chosen, &DeleteRuns);
  remove->add_option("run", options->names, "Runs")->required();
  AddProjectFlag(remove, &options->project);
  AddYesFlag(remove, &options->yes);
}

void DeclareDelete(CLI::App* app, const Chosen& chosen) {
  CLI::App* remove = app->add_subcommand("delete", "Delete what a file names");
  remove->alias("destroy");
  const auto options = Bind<DeleteOptions>(remove, chosen, &Delete);
  remove->add_option(
      "-f,--file", options->file, "Configuration file (default: .dstack.yml); - is standard input");
  AddProjectFlag(remove, &options->project);
  AddYesFlag(remove, &options->yes);
}

void AddDrainCommands(CLI::App* fleet, const Chosen& chosen) {
  const auto add_flags = [](CLI::App* command, DrainFleetOptions* options) {
    command->add_option("name", options->name, "Fleet")->required();
    command->add_option("-i,--instance", options->instances, "Only this instance (repeatable)")
        ->allow_extra_args(false);
    AddProjectFlag(command, &options->project);
  };
  CLI::App* drain = fleet->add_subcommand("drain", "No new jobs on a fleet or some instances");
  const auto options = Bind<DrainFleetOptions>(drain, chosen, &DrainFleet);
  add_flags(drain, options.get());
  drain->add_option("--reason", options->reason, "Shown to those who wait")->required();
  CLI::App* undrain = fleet->add_subcommand("undrain", "New jobs on them again");
  add_flags(undrain, Bind<DrainFleetOptions>(undrain, chosen, &UndrainFleet).get());
}

void DeclareFleet(CLI::App* app, const Chosen& chosen) {
  CLI::App* fleet = app->add_subcommand("fleet", "Fleets and their instances");
  fleet->require_subcommand(0, 1);
  // The bare command is the list.
  const auto bare = Bind<ListFleetsOptions>(fleet, chosen, &ListFleets);
  const auto add_list_flags = [](CLI::App* list, ListFleetsOptions* options) {
    AddProjectFlag(list, &options->project);
    list->add_flag("-v,--verbose", options->verbose, "More columns");
    auto* watch = list->add_flag("-w,--watch", options->watch, "Show changes until Ctrl-C");
    list->add_flag("--json", options->json, "JSON")->excludes(watch);
  };
  add_list_flags(fleet, bare.get());
  CLI::App* list = fleet->add_subcommand("list", "List fleets");
  add_list_flags(list, Bind<ListFleetsOptions>(list, chosen, &ListFleets).get());
  CLI::App* get = fleet->add_subcommand("get", "One fleet as JSON");
  AddGetFlags(get, Bind<GetFleetOptions>(get, chosen, &GetFleet), "Fleet");
  AddDrainCommands(fleet, chosen);
  CLI::App* remove = fleet->add_subcommand("delete", "Delete a fleet or some of its instances");
  const auto options = Bind<DeleteFleetOptions>(remove, chosen, &DeleteFleet);
  remove->add_option("name", options->name, "Fleet")->required();
  remove->add_option("-i,--instance", options->instances, "Only this instance (repeatable)")
      ->allow_extra_args(false);
  AddProjectFlag(remove, &options->project);
  AddYesFlag(remove, &options->yes);
}

void DeclareProject(CLI::App* app, const Chosen& chosen) {
  CLI::App* project = app->add_subcommand("project", "Projects that this machine knows");
  project->require_subcommand(0, 1);
  Bind<ListProjectsOptions>(project, chosen, &ListProjects);
  CLI::App* list = project->add_subcommand("list", "List projects");
  const auto list_options = Bind<ListProjectsOptions>(list, chosen, &ListProjects);
  list->add_flag("-v,--verbose", list_options->verbose, "With the user of each token");
  CLI::App* add = project->add_subcommand("add", "Add or change a project");
  const auto options = Bind<AddProjectOptions>(add, chosen, &AddProject);
  add->add_option("--name", options->name, "Project")->required();
  add->add_option("--url", options->url, "Server")->required();
  add->add_option("--token", options->token, "Token")->required();
  auto* yes = add->add_flag("-y,--yes", options->yes, "Make it the default");
  add->add_flag("-n,--no", options->no, "Do not make it the default")->excludes(yes);
  CLI::App* set_default = project->add_subcommand("set-default", "Choose the default project");
  const auto name = std::make_shared<std::string>();
  set_default->add_option("name", *name, "Project")->required();
  set_default->callback([chosen, name] {
    *chosen = [name](const Context& context) { return SetDefault(context, *name); };
  });
  CLI::App* remove = project->add_subcommand("delete", "Forget a project");
  const auto remove_options = Bind<DeleteProjectOptions>(remove, chosen, &DeleteProject);
  remove->add_option("--name", remove_options->name, "Project")->required();
  AddYesFlag(remove, &remove_options->yes);
}

void DeclareConfig(CLI::App* app, const Chosen& chosen) {
  CLI::App* config = app->add_subcommand("config", "Configuration files");
  config->require_subcommand(1);
  CLI::App* check = config->add_subcommand("check", "Check files without a server");
  const auto check_options = Bind<CheckConfigOptions>(check, chosen, &CheckConfigs);
  check->add_option("files", check_options->files, "Files (default: .dstack.yml)");
  check->add_flag("--json", check_options->json, "For programs");
  CLI::App* show =
      config->add_subcommand("show", "Show a file with defaults and profile filled in");
  const auto show_options = Bind<ShowConfigOptions>(show, chosen, &ShowConfig);
  show->add_option("file", show_options->file, "File (default: .dstack.yml)");
  auto* profile = show->add_option("--profile", show_options->profile, "Name of the profile");
  show->add_flag("--no-profile", show_options->no_profile, "Use no profile")->excludes(profile);
  show->add_flag("--json", show_options->json, "As JSON instead of YAML");
  show->add_flag("--show-secrets", show_options->show_secrets, "Do not hide values of variables");
  CLI::App* schema = config->add_subcommand("schema", "Print the JSON Schema for editors");
  const auto schema_options = Bind<ConfigSchemaOptions>(schema, chosen, &PrintConfigSchema);
  schema->add_option("type", schema_options->type, "task, fleet, ... (default: all of them)");
}

int Report(Terminal& terminal, const absl::Status& status) {
  terminal.PrintError(base::Message(status));
  if (absl::IsUnauthenticated(status)) {
    terminal.PrintError("Check the token of the project: `dstack project add` stores a new one");
  }
  if (absl::IsUnimplemented(status)) {
    terminal.PrintError("The server is older than this program and does not know this call");
  }
  return 1;
}

// Prints what CLI11 says: help to standard output, mistakes to standard error.
int ReportUsage(CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = app.exit(error, out, err);
  base::WriteAll(1, out.str()).IgnoreError();
  base::WriteAll(2, err.str()).IgnoreError();
  if (code == 0) return 0;
  return dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ? 1 : kUsageError;
}

// `apply -h TYPE`: all kinds have the same flags here, so the kind is checked and dropped.
absl::Status DropHelpTopic(std::vector<std::string>* arguments) {
  if (arguments->empty() || (*arguments)[0] != "apply") return absl::OkStatus();
  for (size_t i = 1; i + 1 < arguments->size(); ++i) {
    const std::string& flag = (*arguments)[i];
    const std::string topic = (*arguments)[i + 1];
    if ((flag != "-h" && flag != "--help") || topic.empty() || topic[0] == '-') continue;
    constexpr std::array kTopics = {
        "task", "dev-environment", "service", "fleet", "gateway", "volume", "preset"};
    if (std::find(kTopics.begin(), kTopics.end(), topic) == kTopics.end()) {
      return base::Invalid(fmt::format(
          "{}: must be followed by one of {} ({})", flag, fmt::join(kTopics, ", "), topic));
    }
    arguments->erase(arguments->begin() + static_cast<std::ptrdiff_t>(i) + 1);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

int RunCommand(const Action& action) {
  const Environment environment = Environment::FromProcess();
  const ProjectStore store(base::JoinPath(environment.DstackHome(), "config.yml"));
  Terminal terminal(environment);
  const absl::StatusOr<int> code = action({environment, store, terminal});
  return code.ok() ? *code : Report(terminal, code.status());
}

}  // namespace

int RunApp(const std::vector<std::string>& arguments) {
  std::vector<std::string> own = arguments;
  // The server has its own flags.
  if (!own.empty() && own[0] == "server") {
    own.erase(own.begin());
    const absl::Status status = ExecServer(own);
    base::WriteAll(2, fmt::format("{}\n", base::Message(status))).IgnoreError();
    return 1;
  }
  const auto separator = std::find(own.begin(), own.end(), "--");
  std::vector<std::string> run_arguments;
  if (separator != own.end() && own[0] == "apply") {
    run_arguments.assign(separator + 1, own.end());
    own.erase(separator, own.end());
  }

  if (const absl::Status status = DropHelpTopic(&own); !status.ok()) {
    base::WriteAll(2, fmt::format("{}\n", base::Message(status))).IgnoreError();
    return kUsageError;
  }
  CLI::App app("Runs AI workloads on any machines", "dstack");
  app.set_version_flag("-v,--version", std::string(base::Version()));
  app.require_subcommand(0, 1);
  const Chosen chosen = std::make_shared<Action>();
  DeclareApply(&app, chosen, run_arguments);
  DeclareDelete(&app, chosen);
  DeclarePs(&app, chosen);
  DeclareLogs(&app, chosen);
  DeclareStop(&app, chosen);
  DeclareMetrics(&app, chosen);
  DeclareRun(&app, chosen);
  DeclareFleet(&app, chosen);
  DeclareProject(&app, chosen);
  DeclareConfig(&app, chosen);
  app.add_subcommand("server", "Run the server (see dstack server --help)");
  try {
    std::reverse(own.begin(), own.end());
    app.parse(own);
  } catch (const CLI::ParseError& error) {
    return ReportUsage(app, error);
  }
  if (*chosen) return RunCommand(*chosen);
  base::WriteAll(1, app.help()).IgnoreError();
  return 0;
}

}  // namespace dstack::cli
