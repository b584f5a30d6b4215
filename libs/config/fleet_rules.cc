#include <set>
#include <string>

#include <fmt/format.h>

#include "libs/config/names.h"
#include "libs/config/private_address.h"
#include "libs/config/problem.h"
#include "libs/config/run_rules.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kMaxHostBytes = 255;
constexpr size_t kMaxUserBytes = 255;
constexpr size_t kMaxKeyBytes = size_t{64} << 10;
constexpr size_t kMaxPathBytes = 4096;

// Host and user names reach the command line of ssh: nothing that could be an option or a shell
// word.
void CheckHostName(const std::string& hostname, const std::string& path, Violations* violations) {
  violations->AddIf(path, CheckPlainText(hostname, kMaxHostBytes));
  for (const char c : hostname) {
    const bool is_known =
        IsAsciiAlnum(c) || c == '.' || c == '-' || c == '_' || c == ':' || c == '%';
    if (!is_known || hostname.front() == '-') {
      violations->Add(path, "must be a host name or address, without leading `-`");
    }
  }
}

void CheckLoginUser(const std::string& user, const std::string& path, Violations* violations) {
  for (const char c : user) {
    const bool is_known = IsAsciiAlnum(c) || c == '.' || c == '-' || c == '_' || c == '@' ||
                          c == '+' || c == '$' || c == '\\';
    if (!is_known || user.front() == '-') {
      violations->Add(path, "must be a login name, without leading `-`");
    }
  }
  if (user.empty() || user.size() > kMaxUserBytes) violations->Add(path, "must be a login name");
}

// `ssh-ed25519 AAAA... comment`, one line.
void CheckHostKey(const std::string& key, const std::string& path, Violations* violations) {
  violations->AddIf(path, CheckPlainText(key, kMaxKeyBytes));
  const std::vector<std::string> words = SplitOn(key, ' ');
  const bool has_type =
      words[0].starts_with("ssh-") || words[0].starts_with("ecdsa-") || words[0].starts_with("sk-");
  const bool has_data = words.size() >= 2 && words[1].starts_with("AAAA");
  if (!has_type || !has_data) {
    violations->Add(path, "must be a public host key such as `ssh-ed25519 AAAA...`");
  }
}

void CheckIdentityFile(const std::string& file, const std::string& path, Violations* violations) {
  if (file.find("PRIVATE KEY") != std::string::npos) {
    violations->Add(path, "must be the path of the file with the key, not the key itself");
  } else {
    violations->AddIf(path, CheckPlainText(file, kMaxPathBytes));
  }
}

void CheckProxyJump(const v1::ProxyJump& jump, const std::string& path, Violations* violations) {
  CheckHostName(jump.hostname(), ChildPath(path, "hostname"), violations);
  if (!jump.user().empty()) CheckLoginUser(jump.user(), ChildPath(path, "user"), violations);
  if (jump.has_host_key()) CheckHostKey(jump.host_key(), ChildPath(path, "host_key"), violations);
  CheckIdentityFile(jump.identity_file(), ChildPath(path, "identity_file"), violations);
  if (jump.identity_file().empty() && !jump.has_ssh_key()) {
    violations->Add(ChildPath(path, "identity_file"), "is required");
  }
}

void CheckHost(const v1::SshHost& host, const std::string& path, Violations* violations) {
  CheckHostName(host.hostname(), ChildPath(path, "hostname"), violations);
  if (host.has_user()) CheckLoginUser(host.user(), ChildPath(path, "user"), violations);
  if (host.has_host_key()) CheckHostKey(host.host_key(), ChildPath(path, "host_key"), violations);
  if (host.has_proxy_jump())
    CheckProxyJump(host.proxy_jump(), ChildPath(path, "proxy_jump"), violations);
  CheckIdentityFile(host.identity_file(), ChildPath(path, "identity_file"), violations);
  if (host.has_internal_ip()) {
    violations->AddIf(ChildPath(path, "internal_ip"), CheckPrivateAddress(host.internal_ip()));
  }
}

void CheckHosts(const v1::SshConfig& config, Violations* violations) {
  std::set<std::string> known;
  int with_internal_ip = 0;
  for (int i = 0; i < config.hosts_size(); ++i) {
    const v1::SshHost& host = config.hosts(i);
    const std::string path = ItemPath("ssh_config.hosts", static_cast<size_t>(i));
    CheckHost(host, path, violations);
    with_internal_ip += host.has_internal_ip() ? 1 : 0;
    const int port = host.has_port() ? host.port() : config.has_port() ? config.port() : 22;
    if (!known.insert(fmt::format("{}:{}", host.hostname(), port)).second) {
      violations->Add(ChildPath(path, "hostname"),
                      fmt::format("is given twice: `{}`", Excerpt(host.hostname())));
    }
  }
  if (with_internal_ip > 0 && with_internal_ip < config.hosts_size()) {
    violations->Add("ssh_config.hosts", "must have `internal_ip` on all hosts or on none");
  }
  if (with_internal_ip > 0 && config.has_network()) {
    violations->Add("ssh_config.network", "cannot be used together with `internal_ip` of hosts");
  }
}

void CheckSshConfig(const v1::SshConfig& config, Violations* violations) {
  if (config.has_user()) CheckLoginUser(config.user(), "ssh_config.user", violations);
  CheckIdentityFile(config.identity_file(), "ssh_config.identity_file", violations);
  if (config.has_network()) {
    violations->AddIf("ssh_config.network", CheckPrivateNetwork(config.network()));
  }
  if (config.has_proxy_jump())
    CheckProxyJump(config.proxy_jump(), "ssh_config.proxy_jump", violations);
  CheckHosts(config, violations);
}

// Keys that the other kind of fleet has.
void CheckForeignFields(const v1::FleetConfiguration& fleet, Violations* violations) {
  if (!fleet.has_ssh_config()) {
    if (fleet.env_size() > 0) violations->Add("env", "is used with `ssh_config` alone");
    return;
  }
  if (fleet.has_resources()) violations->Add("resources", "cannot be used with `ssh_config`");
  const auto* reflection = fleet.profile().GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> given;
  reflection->ListFields(fleet.profile(), &given);
  for (const auto* field : given) {
    if (field->name() == "cleared_fields") continue;
    violations->Add(field->name(), "cannot be used with `ssh_config`");
  }
}

bool IsPrivateKey(const std::string& key) {
  return key.starts_with("-----BEGIN ") && key.find("PRIVATE KEY-----") != std::string::npos;
}

}  // namespace

void CheckFleetRules(const v1::FleetConfiguration& fleet, Violations* violations) {
  if (fleet.has_name()) violations->AddIf("name", CheckResourceName(fleet.name()));
  if (fleet.has_ssh_config()) CheckSshConfig(fleet.ssh_config(), violations);
  if (fleet.has_ssh_config() && fleet.has_nodes()) {
    violations->Add("nodes", "cannot be used together with `ssh_config`");
  } else if (!fleet.has_ssh_config() && !fleet.has_nodes()) {
    violations->Add("nodes", "is required without `ssh_config`");
  }
  CheckForeignFields(fleet, violations);
}

void CheckSubmittedHosts(const v1::FleetConfiguration& fleet, Violations* violations) {
  const v1::SshConfig& config = fleet.ssh_config();
  for (int i = 0; i < config.hosts_size(); ++i) {
    const v1::SshHost& host = config.hosts(i);
    const std::string path = ItemPath("ssh_config.hosts", static_cast<size_t>(i));
    if (!host.has_user() && !config.has_user()) {
      violations->Add(ChildPath(path, "user"), "is required here or in `ssh_config`");
    }
    const v1::SshKey& key = host.has_ssh_key() ? host.ssh_key() : config.ssh_key();
    if (key.private_key().empty()) {
      violations->Add(ChildPath(path, "identity_file"), "is required here or in `ssh_config`");
    } else if (!IsPrivateKey(key.private_key()) || key.private_key().size() > kMaxKeyBytes) {
      violations->Add(ChildPath(path, "identity_file"),
                      "must be a private key in PEM or OpenSSH format");
    } else if (key.private_key().find("ENCRYPTED") != std::string::npos) {
      violations->Add(ChildPath(path, "identity_file"),
                      "must be a private key without a passphrase");
    }
  }
}

}  // namespace dstack::config
