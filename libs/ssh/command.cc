#include "libs/ssh/command.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/ssh/quote.h"

namespace dstack::ssh {
namespace {

// Destination in commands that only use the control socket: ssh wants one and does not look at it.
constexpr const char* kNoDestination = "dstack";

void AddOption(std::vector<std::string>* argv, std::string option) {
  argv->push_back("-o");
  argv->push_back(std::move(option));
}

// Who the other side must be and who we are. The user's configuration and agent take no part.
void AddIdentity(std::vector<std::string>* argv, const Hop& hop) {
  for (const std::string& file : hop.identity_files) {
    argv->push_back("-i");
    argv->push_back(file);
  }
  AddOption(argv, "IdentitiesOnly=yes");
  AddOption(argv, "IdentityAgent=none");
  AddOption(argv, "BatchMode=yes");
  AddOption(argv, "PreferredAuthentications=publickey");
  AddOption(argv,
            hop.is_key_pinned ? "StrictHostKeyChecking=yes" : "StrictHostKeyChecking=accept-new");
  AddOption(argv, "UserKnownHostsFile=" + hop.known_hosts_file);
  AddOption(argv, "GlobalKnownHostsFile=/dev/null");
  AddOption(argv, "HostKeyAlias=" + hop.host_key_alias);
  AddOption(argv, "HashKnownHosts=no");
  AddOption(argv, "UpdateHostKeys=no");
}

void AddLiveness(std::vector<std::string>* argv, std::chrono::seconds connect_timeout) {
  AddOption(argv, fmt::format("ConnectTimeout={}", connect_timeout.count()));
  AddOption(argv, "ServerAliveInterval=5");
  AddOption(argv, "ServerAliveCountMax=3");
}

void AddDestination(std::vector<std::string>* argv, const Hop& hop) {
  argv->push_back("-p");
  argv->push_back(std::to_string(hop.port));
  argv->push_back("-l");
  argv->push_back(hop.user);
  argv->push_back("--");
  argv->push_back(BareHostname(hop.hostname));
}

std::string DoublePercent(const std::string& text) {
  std::string doubled;
  for (const char c : text) doubled += c == '%' ? "%%" : std::string(1, c);
  return doubled;
}

// ssh gives this to a shell after it has replaced %h and %p.
std::string ProxyCommand(const ConnectionSpec& spec) {
  std::vector<std::string> argv = {"ssh", "-F", "none"};
  AddIdentity(&argv, *spec.jump);
  AddLiveness(&argv, spec.connect_timeout);
  std::vector<std::string> destination;
  AddDestination(&destination, *spec.jump);
  return fmt::format("{} -W '[%h]:%p' {}",
                     DoublePercent(QuoteCommand(argv)),
                     DoublePercent(QuoteCommand(destination)));
}

// A mux client whose master is gone would connect by itself; a proxy that fails prevents that.
std::vector<std::string> ControlClient(const std::string& control_path) {
  return {"ssh",
          "-F",
          "none",
          "-S",
          control_path,
          "-o",
          "ControlMaster=no",
          "-o",
          "BatchMode=yes",
          "-o",
          "ProxyCommand=false"};
}

std::vector<std::string> ControlCommand(const std::string& control_path,
                                        const std::string& verb,
                                        const std::string& forward) {
  std::vector<std::string> argv = ControlClient(control_path);
  argv.insert(argv.end(), {"-O", verb});
  if (!forward.empty()) argv.insert(argv.end(), {"-L", forward});
  argv.insert(argv.end(), {"--", kNoDestination});
  return argv;
}

absl::Status CheckWord(std::string_view field, const std::string& value) {
  if (value.empty()) return base::InvalidField(field, "must not be empty");
  if (value.front() == '-') {
    return base::InvalidField(field, fmt::format("'{}' must not begin with '-'", value));
  }
  const auto is_bad = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
  if (std::any_of(value.begin(), value.end(), is_bad)) {
    return base::InvalidField(
        field, fmt::format("'{}' must not hold blanks or control characters", value));
  }
  return absl::OkStatus();
}

absl::Status ValidateHop(std::string_view prefix, const Hop& hop) {
  RETURN_IF_ERROR(CheckWord(fmt::format("{}hostname", prefix), BareHostname(hop.hostname)));
  RETURN_IF_ERROR(CheckWord(fmt::format("{}user", prefix), hop.user));
  RETURN_IF_ERROR(CheckWord(fmt::format("{}known_hosts_file", prefix), hop.known_hosts_file));
  RETURN_IF_ERROR(CheckWord(fmt::format("{}host_key_alias", prefix), hop.host_key_alias));
  if (hop.port == 0) {
    return base::InvalidField(fmt::format("{}port", prefix), "0 is not in 1..65535");
  }
  return absl::OkStatus();
}

}  // namespace

std::string BareHostname(const std::string& hostname) {
  if (hostname.size() > 2 && hostname.front() == '[' && hostname.back() == ']') {
    return hostname.substr(1, hostname.size() - 2);
  }
  return hostname;
}

absl::Status Validate(const ConnectionSpec& spec) {
  RETURN_IF_ERROR(ValidateHop("", spec.host));
  if (spec.jump.has_value()) RETURN_IF_ERROR(ValidateHop("proxy_jump.", *spec.jump));
  return CheckWord("control_path", spec.control_path);
}

std::vector<std::string> MasterCommand(const ConnectionSpec& spec,
                                       const std::vector<std::string>& remote_argv) {
  std::vector<std::string> argv = {"ssh", "-F", "none", "-T", "-S", spec.control_path};
  AddOption(&argv, "ControlMaster=yes");
  AddOption(&argv, "ControlPersist=no");
  AddIdentity(&argv, spec.host);
  AddLiveness(&argv, spec.connect_timeout);
  AddOption(&argv, "ExitOnForwardFailure=yes");
  AddOption(&argv, "StreamLocalBindUnlink=yes");
  if (spec.jump.has_value()) AddOption(&argv, "ProxyCommand=" + ProxyCommand(spec));
  AddDestination(&argv, spec.host);
  argv.push_back(QuoteCommand(remote_argv));
  return argv;
}

std::vector<std::string> ForwardCommand(const std::string& control_path,
                                        const std::string& local_socket,
                                        const std::string& remote_socket) {
  return ControlCommand(control_path, "forward", local_socket + ":" + remote_socket);
}

std::vector<std::string> CancelForwardCommand(const std::string& control_path,
                                              const std::string& local_socket,
                                              const std::string& remote_socket) {
  return ControlCommand(control_path, "cancel", local_socket + ":" + remote_socket);
}

std::vector<std::string> ExecCommand(const std::string& control_path,
                                     const std::vector<std::string>& remote_argv) {
  std::vector<std::string> argv = ControlClient(control_path);
  argv.insert(argv.end(), {"-T", "--", kNoDestination, QuoteCommand(remote_argv)});
  return argv;
}

std::vector<std::string> ExitCommand(const std::string& control_path) {
  return ControlCommand(control_path, "exit", "");
}

}  // namespace dstack::ssh
