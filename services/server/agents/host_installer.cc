#include "services/server/agents/host_installer.h"

#include <map>

#include <zlib.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/ssh/keys.h"
#include "libs/ssh/quote.h"
#include "libs/telemetry/log.h"
#include "services/server/agents/install_scripts.h"

namespace dstack::server {
namespace {

using std::chrono::seconds;

constexpr seconds kScriptTimeout{30};
// A slow line of 1 Mbit/s moves a compressed agent in this time.
constexpr seconds kUploadTimeout{300};
constexpr const char* kPlatform = "Linux x86_64";
constexpr int kGzipWindow = 15 + 16;

std::string UnitName(const std::string& server_id) {
  return fmt::format("dstack-shim-{}.service", server_id.substr(0, 8));
}

std::vector<std::string> Script(const char* text, std::vector<std::string> arguments) {
  std::vector<std::string> argv = {"sh", "-c", text, "dstack"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

absl::StatusOr<std::string> RunScript(HostTransport& transport,
                                      const std::string& what,
                                      const std::vector<std::string>& argv,
                                      seconds timeout,
                                      std::optional<std::string> input,
                                      std::stop_token stop) {
  ASSIGN_OR_RETURN(HostTransport::ExecResult result,
                   transport.Exec(argv, timeout, std::move(input), stop));
  if (result.exit_status == 0) return std::move(result.output);
  const std::string detail(absl::StripAsciiWhitespace(result.error_output));
  return absl::UnknownError(base::ToAbsl(
      fmt::format("{} failed on the host (status {}): {}", what, result.exit_status, detail)));
}

std::string Gzip(const std::string& content) {
  z_stream stream{};
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) return "";
  std::string packed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int result = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return result == Z_STREAM_END ? packed : "";
}

}  // namespace

// What is on the host.
struct AgentInstaller::Probe {
  std::string platform;
  std::string directory;
  bool has_shim = false;
  bool has_runner = false;
  bool has_ssh = false;
  bool wants_gzip = false;
  bool has_systemd = false;
  // A shim runs with the settings that are asked for.
  bool is_running = false;
};

absl::StatusOr<AgentInstaller::Probe> AgentInstaller::ProbeHost(HostTransport& transport,
                                                                const InstallRequest& request,
                                                                const AgentBundle::Files& files,
                                                                std::stop_token stop) {
  const std::string key =
      request.public_key.empty() ? "" : ssh::BareKey(request.public_key).value_or("");
  const std::string ssh_name = files.ssh.has_value() ? files.ssh->VersionedName() : "";
  ASSIGN_OR_RETURN(const std::string output,
                   RunScript(transport,
                             "preparing the directory",
                             Script(scripts::kProbe,
                                    {options_.server_id,
                                     files.shim.VersionedName(),
                                     files.runner.VersionedName(),
                                     ssh_name,
                                     key,
                                     SettingsLine(request),
                                     UnitName(options_.server_id)}),
                             kScriptTimeout,
                             std::nullopt,
                             stop));
  std::map<std::string, std::string> values;
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits('=', 1));
    values[pair.first] = pair.second;
  }
  Probe probe;
  probe.platform = values["uname"];
  probe.directory = values["dir"];
  probe.has_shim = values.count("has_shim") > 0;
  probe.has_runner = values.count("has_runner") > 0;
  probe.has_ssh = values.count("has_ssh") > 0;
  probe.wants_gzip = !request.is_local && values.count("has_gzip") > 0;
  probe.has_systemd = values.count("has_systemd") > 0;
  probe.is_running = values.count("is_running") > 0;
  if (probe.platform != kPlatform) {
    return absl::FailedPreconditionError(base::ToAbsl(
        fmt::format("the host is '{}', agents exist for '{}' only", probe.platform, kPlatform)));
  }
  if (values.count("missing") > 0) {
    return absl::FailedPreconditionError(
        base::ToAbsl(fmt::format("the program {} is missing on the host", values["missing"])));
  }
  if (probe.directory.empty())
    return base::Unavailable("the host's login shell does not answer as expected");
  return probe;
}

absl::Status AgentInstaller::Upload(HostTransport& transport,
                                    const AgentFile& file,
                                    const Probe& probe,
                                    std::stop_token stop) {
  std::string content = probe.wants_gzip ? Gzip(file.content) : "";
  const bool is_packed = !content.empty();
  if (!is_packed) content = file.content;
  const char* script = file.name == "ssh" ? scripts::kUploadTree : scripts::kUpload;
  telemetry::Debug("copying an agent to a host",
                   {{"file", file.VersionedName()}, {"bytes", content.size()}});
  return RunScript(
             transport,
             "copying " + file.name,
             Script(
                 script,
                 {probe.directory, file.VersionedName(), file.digest, is_packed ? "gzip" : "cat"}),
             kUploadTimeout,
             std::move(content),
             stop)
      .status();
}

std::string AgentInstaller::SettingsLine(const InstallRequest& request) const {
  std::string settings = options_.base_image + '\n';
  for (const auto& [name, value] : request.env) settings += fmt::format("{}={}\n", name, value);
  return "# settings " + base::Sha256Hex(settings);
}

std::string AgentInstaller::StartScript(const InstallRequest& request,
                                        const AgentBundle::Files& files,
                                        const Probe& probe) const {
  std::vector<std::string> argv = {"exec"};
  if (!request.env.empty()) argv.emplace_back("env");
  for (const auto& [name, value] : request.env) argv.push_back(fmt::format("{}={}", name, value));
  const std::string bin = probe.directory + "/bin/";
  argv.insert(argv.end(),
              {bin + files.shim.VersionedName(),
               "--home",
               probe.directory,
               "--runner-binary",
               bin + files.runner.VersionedName()});
  if (files.ssh.has_value())
    argv.insert(argv.end(),
                {"--ssh-bundle-dir", probe.directory + "/" + files.ssh->VersionedName()});
  if (!options_.base_image.empty()) argv.insert(argv.end(), {"--base-image", options_.base_image});
  // Also below systemd: the supervisor goes back from an upgrade that fails.
  argv.emplace_back("--supervise");
  return SettingsLine(request) + "\n" + ssh::QuoteCommand(argv) + "\n";
}

absl::StatusOr<std::string> AgentInstaller::Install(HostTransport& transport,
                                                    const InstallRequest& request,
                                                    std::stop_token stop) {
  ASSIGN_OR_RETURN(const auto files, bundle_.Get());
  ASSIGN_OR_RETURN(const Probe probe, ProbeHost(transport, request, *files, stop));
  const std::string socket = probe.directory + "/shim.sock";
  if (probe.is_running && !request.takes_over) return socket;
  if (!probe.has_runner) RETURN_IF_ERROR(Upload(transport, files->runner, probe, stop));
  if (!probe.has_shim) RETURN_IF_ERROR(Upload(transport, files->shim, probe, stop));
  if (files->ssh.has_value() && !probe.has_ssh)
    RETURN_IF_ERROR(Upload(transport, *files->ssh, probe, stop));
  const std::string unit = probe.has_systemd ? UnitName(options_.server_id) : "";
  RETURN_IF_ERROR(RunScript(transport,
                            "starting the shim",
                            Script(scripts::kStart, {probe.directory, unit}),
                            kScriptTimeout,
                            StartScript(request, *files, probe),
                            stop)
                      .status());
  return socket;
}

std::string AgentInstaller::Diagnose(HostTransport& transport) {
  const auto output = RunScript(transport,
                                "reading the shim's log",
                                Script(scripts::kDiagnose, {options_.server_id}),
                                kScriptTimeout,
                                std::nullopt,
                                {});
  if (!output.ok()) return "";
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(*output), {{"\n", " | "}});
}

absl::Status AgentInstaller::Uninstall(HostTransport& transport,
                                       const InstallRequest& request,
                                       std::stop_token stop) {
  const std::string key =
      request.public_key.empty() ? "" : ssh::BareKey(request.public_key).value_or("");
  return RunScript(
             transport,
             "removing the agents",
             Script(scripts::kUninstall, {options_.server_id, UnitName(options_.server_id), key}),
             kScriptTimeout,
             std::nullopt,
             stop)
      .status();
}

}  // namespace dstack::server
