#include "services/runner/options.h"

#include <charconv>
#include <cstdlib>
#include <iostream>
#include <map>

#include <CLI/CLI.hpp>

#include "libs/base/version.h"

namespace dstack::runner {
namespace {

constexpr int kExitUsage = 64;

std::optional<SocketOwner> ParseOwner(const std::string& text) {
  SocketOwner owner;
  const char* end = text.data() + text.size();
  const auto uid = std::from_chars(text.data(), end, owner.uid);
  if (uid.ec != std::errc() || uid.ptr == end || *uid.ptr != ':') return std::nullopt;
  const auto gid = std::from_chars(uid.ptr + 1, end, owner.gid);
  if (gid.ec != std::errc() || gid.ptr != end) return std::nullopt;
  return owner;
}

void AddServing(CLI::App* command, ServingOptions* options) {
  command->add_option("--task-dir", options->task_dir, "Directory of the task, an absolute path")
      ->required()
      ->check(CLI::ExistingDirectory)
      ->check([](const std::string& path) {
        return path.starts_with('/') ? std::string() : "'" + path + "' is not absolute";
      });
  command->add_option_function<std::string>(
      "--socket-owner",
      [options](const std::string& text) {
        options->socket_owner = ParseOwner(text);
        if (!options->socket_owner) {
          throw CLI::ValidationError("--socket-owner", "'" + text + "' is not UID:GID");
        }
      },
      "Numeric UID:GID that may open the socket (default: only the own user)");
}

void AddSupervise(CLI::App* command, SuperviseOptions* options) {
  AddServing(command, &options->serving);
  command->add_option(
      "--ssh-dir", options->ssh_dir, "Bundle of OpenSSH and git (default: no sshd, no clones)");
  command->add_option("--ssh-port",
                      options->ssh_port,
                      "Port of sshd on all addresses (default: a free one of 127.0.0.1)");
  command->add_option("--ssh-authorized-keys",
                      options->ssh_authorized_keys,
                      "Keys that may log in (default: authorized_keys in the task's directory)");
  command->add_option("--shared-dir", options->shared_dir, "Directory of files for the job");
  command->add_option("--log-spool-bytes", options->log_spool_bytes, "Limit of the log spool")
      ->capture_default_str();
  const std::map<std::string, spool::OverflowPolicy> policies = {
      {"throttle", spool::OverflowPolicy::kThrottle}, {"drop", spool::OverflowPolicy::kDrop}};
  command->add_option("--log-overflow", options->log_overflow, "When the log spool is full")
      ->transform(CLI::CheckedTransformer(policies));
}

void AddServe(CLI::App* command, ServeOptions* options) {
  AddServing(command, &options->serving);
  command->add_option("--control-fd", options->control_fd, "Socket to supervise")->required();
  command->add_option("--appended-fd", options->appended_fd, "Counter of appends")->required();
  command->add_option("--initial-dir", options->initial_dir, "Working directory of the container")
      ->required();
  command->add_option("--ssh-dir", options->ssh_dir, "Bundle of OpenSSH and git");
  command->add_option("--shared-dir", options->shared_dir, "Directory of files for the job")
      ->required();
}

telemetry::Level ParseLevelOrDefault(const std::string& text) {
  const auto level = telemetry::ParseLevel(text);
  if (!level.ok()) throw CLI::ValidationError("--log-level", std::string(level.status().message()));
  return *level;
}

}  // namespace

Options ParseOptions(int argc, char** argv) {
  CLI::App app("Agent of one job", "dstack-runner");
  Options options;
  SuperviseOptions supervise;
  ServeOptions serve;
  DeliverOptions deliver;
  app.set_version_flag("--version", std::string(base::Version()));
  app.add_option_function<std::string>(
      "--log-level",
      [&](const std::string& text) { options.log_level = ParseLevelOrDefault(text); },
      "debug, info, warning, error or off; or 1 (few lines) to 6 (all)");
  app.require_subcommand(1);
  auto* supervise_command =
      app.add_subcommand("supervise", "First process of a container: runs the command");
  AddSupervise(supervise_command, &supervise);
  auto* serve_command = app.add_subcommand("serve", "gRPC side, started by supervise");
  AddServe(serve_command, &serve);
  auto* deliver_command =
      app.add_subcommand("deliver", "Serves the end of a job whose container is gone");
  AddServing(deliver_command, &deliver.serving);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : kExitUsage);
  }
  if (supervise_command->parsed()) options.command = supervise;
  if (serve_command->parsed()) options.command = serve;
  if (deliver_command->parsed()) options.command = deliver;
  return options;
}

}  // namespace dstack::runner
