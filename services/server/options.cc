#include "services/server/options.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "fmt/format.h"
#include "libs/base/version.h"
#include "libs/config/shorthand/duration.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

constexpr int kUsageError = 2;

// Texts as they come from flags and environment, before they are checked.
struct RawOptions {
  std::string host;
  std::string port;
  std::string token;
  std::string home;
  std::string host_lost_after;
  std::string log_format;
  bool is_debug = false;
  bool yes = false;
  bool no = false;
};

// Settings without flags, as few change them: seconds, 0 keeps for ever.
struct RetentionSetting {
  const char* variable;
  std::chrono::seconds Retention::*value;
};
constexpr std::array kRetentionSettings = {
    RetentionSetting{"DSTACK_SERVER_METRICS_RUNNING_TTL_SECONDS", &Retention::usage_running},
    RetentionSetting{"DSTACK_SERVER_METRICS_FINISHED_TTL_SECONDS", &Retention::usage_finished},
    RetentionSetting{"DSTACK_SERVER_EVENTS_TTL_SECONDS", &Retention::events},
    RetentionSetting{"DSTACK_SERVER_LOGS_TTL_SECONDS", &Retention::logs},
    RetentionSetting{"DSTACK_SERVER_DELETED_RUNS_TTL_SECONDS", &Retention::forgotten_runs},
    RetentionSetting{"DSTACK_SERVER_FILES_TTL_SECONDS", &Retention::files},
    RetentionSetting{"DSTACK_SERVER_REQUESTS_TTL_SECONDS", &Retention::requests},
};

std::string Or(const std::optional<std::string>& value, const std::string& fallback) {
  return value && !value->empty() ? *value : fallback;
}

// Defaults from the environment; flags go over them.
void ReadEnvironment(const EnvironmentLookup& lookup, Options& options, RawOptions& raw) {
  raw.host = Or(lookup("DSTACK_SERVER_HOST"), options.host);
  raw.port = Or(lookup("DSTACK_SERVER_PORT"), std::to_string(options.port));
  raw.token = Or(lookup("DSTACK_SERVER_ADMIN_TOKEN"), "");
  raw.log_format = Or(lookup("DSTACK_SERVER_LOG_FORMAT"), "text");
  options.log_level = Or(lookup("DSTACK_SERVER_LOG_LEVEL"), options.log_level);
  options.database_url = Or(lookup("DSTACK_DATABASE_URL"), "");
  options.encryption_key = base::Secret(Or(lookup("DSTACK_SERVER_ENCRYPTION_KEY"), ""));
  options.base_image = Or(lookup("DSTACK_BASE_IMAGE"), "");
  options.docker_image = Or(lookup("DSTACK_DOCKER_IMAGE"), options.docker_image);
  const std::string user_home = Or(lookup("HOME"), "");
  const std::string dstack_home =
      Or(lookup("DSTACK_HOME"), user_home.empty() ? "" : user_home + "/.dstack");
  options.client_home = dstack_home;
  raw.home = Or(lookup("DSTACK_SERVER_DIR"), dstack_home.empty() ? "" : dstack_home + "/server");
}

void DeclareFlags(CLI::App& app, Options& options, RawOptions& raw) {
  app.add_option("--host", raw.host, "Address to listen on [DSTACK_SERVER_HOST; 127.0.0.1]");
  app.add_option("-p,--port",
                 raw.port,
                 "Port for gRPC and HTTP, 0 for any free one [DSTACK_SERVER_PORT; 3000]");
  app.add_option(
      "--token",
      raw.token,
      "Token of the user admin [DSTACK_SERVER_ADMIN_TOKEN; generated on the first start]");
  app.add_option(
      "--home", raw.home, "Directory of the server's data [DSTACK_SERVER_DIR; ~/.dstack/server]");
  app.add_option(
      "--database-url",
      options.database_url,
      "PostgreSQL to use [DSTACK_DATABASE_URL; a private one under the server's directory]");
  app.add_flag(
      "--local-host", options.has_local_host, "Make this machine a host of the fleet `local`");
  app.add_option("--agents-dir",
                 options.agents_dir,
                 "Where dstack-shim and dstack-runner are [beside this program]");
  app.add_option(
      "--base-image", options.base_image, "Image of runs that name none [DSTACK_BASE_IMAGE]");
  app.add_option("--docker-image",
                 options.docker_image,
                 "Image of runs with `docker: true`: has the command start-dockerd, or dockerd and "
                 "docker [DSTACK_DOCKER_IMAGE; dstackai/dind:latest]");
  app.add_option(
      "--host-lost-after",
      raw.host_lost_after,
      "How long the host of running jobs may be silent before they fail, such as 15m [15m]");
  app.add_flag("--insecure", options.is_plaintext_allowed, "Allow plaintext for other machines");
  app.add_option("--tls-cert", options.tls_certificate_file, "PEM file with the certificate chain");
  app.add_option("--tls-key", options.tls_key_file, "PEM file with the private key");
  app.add_option("-l,--log-level",
                 options.log_level,
                 "debug, info, warning or error [DSTACK_SERVER_LOG_LEVEL; info]");
  app.add_option("--log-format", raw.log_format, "text or json [DSTACK_SERVER_LOG_FORMAT; text]");
  app.add_flag("-d,--debug", raw.is_debug, "The same as --log-level debug");
  app.add_flag("-y,--yes", raw.yes, "Point the client's settings of this user at this server");
  app.add_flag("-n,--no", raw.no, "Leave the client's settings alone");
  app.set_version_flag("-v,--version", std::string(base::Version()));
  app.add_subcommand("migrate", "Bring the database to this version and exit")->fallthrough();
  app.require_subcommand(0, 1);
}

std::optional<std::uint16_t> ParsePort(const std::string& text) {
  const bool is_number = !text.empty() && text.size() <= 5 &&
                         text.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number || std::stoi(text) > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(std::stoi(text));
}

// Wrong values in the order of the flags; empty: all is well.
std::string CheckValues(const RawOptions& raw, Options& options) {
  const auto port = ParsePort(raw.port);
  if (!port)
    return fmt::format("--port: '{}' is no port; it must be a number from 0 to 65535", raw.port);
  options.port = *port;
  if (raw.host.empty()) return "--host: must not be empty";
  options.host = raw.host;
  constexpr std::size_t kMinToken = 8;
  if (!raw.token.empty() &&
      (raw.token.size() < kMinToken || raw.token.find_first_of(" \t\r\n") != std::string::npos)) {
    return fmt::format("--token: must have at least {} characters and no blanks", kMinToken);
  }
  options.admin_token = base::Secret(raw.token);
  if (raw.home.empty()) return "--home: is not set, and neither is HOME";
  options.home = std::filesystem::absolute(raw.home).lexically_normal().string();
  if (!raw.host_lost_after.empty()) {
    const auto seconds = config::ParseSeconds(raw.host_lost_after);
    constexpr std::int64_t kLeastSeconds = 60;
    constexpr std::int64_t kMostSeconds = 366LL * 24 * 3600;
    if (!seconds.ok() || *seconds < kLeastSeconds || *seconds > kMostSeconds) {
      return fmt::format("--host-lost-after: '{}' must be a duration from 1m to 366d, such as 15m",
                         raw.host_lost_after);
    }
    options.host_lost_after = std::chrono::seconds(*seconds);
  }
  if (raw.is_debug) options.log_level = "debug";
  if (!telemetry::ParseLevel(options.log_level).ok()) {
    return fmt::format("--log-level: '{}' must be debug, info, warning, error or off",
                       options.log_level);
  }
  if (raw.log_format != "text" && raw.log_format != "json") {
    return fmt::format("--log-format: '{}' must be text or json", raw.log_format);
  }
  options.is_log_json = raw.log_format == "json";
  if (raw.yes && raw.no) return "--yes and --no exclude each other";
  if (raw.yes) options.client_update = ClientUpdate::kYes;
  if (raw.no) options.client_update = ClientUpdate::kNo;
  return "";
}

// The first wrong value; empty: all is well.
std::string ReadRetention(const EnvironmentLookup& lookup, Retention* retention) {
  constexpr std::int64_t kMostSeconds = 3650LL * 24 * 3600;
  for (const RetentionSetting& setting : kRetentionSettings) {
    const std::string text = Or(lookup(setting.variable), "");
    if (text.empty()) continue;
    std::int64_t seconds = 0;
    if (!absl::SimpleAtoi(text, &seconds) || seconds < 0 || seconds > kMostSeconds) {
      return fmt::format("{}: '{}' must be a number of seconds from 0 (for ever) to {}",
                         setting.variable,
                         text,
                         kMostSeconds);
    }
    (*retention).*setting.value = std::chrono::seconds(seconds);
  }
  return "";
}

}  // namespace

ParsedOptions ParseOptions(const std::vector<std::string>& arguments,
                           const EnvironmentLookup& lookup) {
  ParsedOptions result;
  Options options;
  RawOptions raw;
  ReadEnvironment(lookup, options, raw);
  CLI::App app("The dstack server: API, scheduler and connections to hosts.", "dstack-server");
  DeclareFlags(app, options, raw);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    std::ostringstream text;
    result.exit_status = app.exit(error, text, text) == 0 ? 0 : kUsageError;
    result.text = text.str();
    return result;
  }
  if (app.got_subcommand("migrate")) options.command = Options::Command::kMigrate;
  std::string problem = CheckValues(raw, options);
  if (problem.empty()) problem = ReadRetention(lookup, &options.retention);
  if (!problem.empty()) {
    result.exit_status = kUsageError;
    result.text = problem + "\n";
    return result;
  }
  result.options = std::move(options);
  return result;
}

}  // namespace dstack::server
