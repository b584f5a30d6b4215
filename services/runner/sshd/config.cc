#include "services/runner/sshd/config.h"

#include <set>
#include <string_view>

#include <absl/strings/str_replace.h>
#include <fmt/format.h>

namespace dstack::runner {
namespace {

// Argument of a keyword in double quotes.
std::string Quote(std::string_view text) {
  return fmt::format("\"{}\"",
                     absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                                         {{"\\", "\\\\"}, {"\"", "\\\""}}));
}

// Only the first SetEnv counts, so all variables are in one line.
std::string RenderEnvironment(const Environment& environment) {
  static const std::set<std::string_view> kOwn = {
      "HOME", "USER", "LOGNAME", "SHELL", "SHLVL", "PWD", "HOSTNAME", "TERM", "_"};
  std::string line;
  for (const auto& [name, value] : environment) {
    if (kOwn.contains(name) || !IsShellIdentifier(name)) continue;
    if (value.find_first_of("\r\n") != std::string::npos) continue;
    line += " " + Quote(name + "=" + value);
  }
  return line.empty() ? "" : "SetEnv" + line + "\n";
}

}  // namespace

std::string RenderSshdConfig(const SshdConfig& config) {
  std::string text = fmt::format("Port {}\n", config.port);
  if (!config.listen_address.empty()) {
    text += fmt::format("ListenAddress {}\n", config.listen_address);
  }
  text += fmt::format("HostKey {}\n", Quote(config.host_key));
  text +=
      fmt::format("AuthorizedKeysFile {} .ssh/authorized_keys\n", Quote(config.authorized_keys));
  // StrictModes would refuse the task's directory, which belongs to a user of the host.
  text +=
      "StrictModes no\n"
      "PermitRootLogin prohibit-password\n"
      "PubkeyAuthentication yes\n"
      "PasswordAuthentication no\n"
      "KbdInteractiveAuthentication no\n"
      "UsePAM no\n"
      "UseDNS no\n"
      "PidFile none\n"
      "PrintMotd no\n"
      "LogLevel INFO\n"
      "Subsystem sftp internal-sftp\n"
      "AllowTcpForwarding yes\n"
      "AllowStreamLocalForwarding yes\n"
      "AcceptEnv LANG LC_* COLORTERM NO_COLOR\n"
      "ClientAliveInterval 30\n"
      "ClientAliveCountMax 4\n";
  return text + RenderEnvironment(config.environment);
}

}  // namespace dstack::runner
