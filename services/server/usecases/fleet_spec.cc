#include "services/server/usecases/fleet_spec.h"

#include <set>
#include <string_view>

#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/config/validate.h"
#include "libs/config/yaml_fields.h"

namespace dstack::server {
namespace {

using config::v1::FleetConfiguration;
using config::v1::ProxyJump;
using config::v1::SshConfig;
using config::v1::SshHost;

constexpr std::size_t kMaxHosts = 10'000;
constexpr std::size_t kMaxKeyBytes = 64 << 10;
constexpr std::size_t kMaxHostnameLength = 253;
constexpr std::size_t kMaxUserLength = 64;
constexpr int kMaxBlocks = 1024;

// Letters, digits and the marks of addresses: what ssh takes as a host without any other meaning.
std::string HostnameProblem(const std::string& hostname) {
  if (hostname.empty()) return "must not be empty";
  if (hostname.size() > kMaxHostnameLength) return "must have at most 253 characters";
  if (hostname.front() == '-') return fmt::format("'{}' must not begin with '-'", hostname);
  for (const char c : hostname) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (!is_plain && std::string_view("-._:%").find(c) == std::string_view::npos) {
      return "must be a host name or an address: letters, digits, '-', '.', '_', ':', '%'";
    }
  }
  return "";
}

std::string UserProblem(const std::string& user) {
  if (user.empty())
    return "is missing: the host has no user of its own, and ssh_config.user is not set";
  if (user.size() > kMaxUserLength) return "must have at most 64 characters";
  if (user.front() == '-') return fmt::format("'{}' must not begin with '-'", user);
  for (const char c : user) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (!is_plain && std::string_view("-._\\").find(c) == std::string_view::npos) {
      return "must have only letters, digits, '-', '.', '_'";
    }
  }
  return "";
}

// Reads one fleet document; collects everything that is wrong with it.
class Resolver {
 public:
  Resolver(const api::v1::FleetSpec& spec, bool needs_keys) : needs_keys_(needs_keys) {
    result_.spec = spec;
  }

  absl::StatusOr<ResolvedFleet> Resolve() {
    FleetConfiguration& document = *result_.spec.mutable_configuration();
    for (const auto& violation : config::FindFleetViolations(document))
      Add(violation.field, violation.description);
    CheckKind(document);
    SshConfig& ssh = *document.mutable_ssh_config();
    TakeKey("ssh_config",
            ssh.identity_file(),
            ssh.has_identity_file(),
            ssh.mutable_ssh_key(),
            [&](const std::string& name) { ssh.set_identity_file(name); });
    ssh.clear_ssh_key();
    if (ssh.has_proxy_jump()) TakeJumpKey("ssh_config.proxy_jump", *ssh.mutable_proxy_jump());
    if (static_cast<std::size_t>(ssh.hosts_size()) > kMaxHosts) {
      Add("ssh_config.hosts",
          fmt::format("must have at most {} hosts; it has {}", kMaxHosts, ssh.hosts_size()));
    }
    for (int i = 0; i < ssh.hosts_size(); ++i) {
      ResolveHost(document, fmt::format("ssh_config.hosts[{}]", i), *ssh.mutable_hosts(i));
    }
    CheckInternalAddresses(ssh);
    CheckEnv(document);
    RETURN_IF_ERROR(base::InvalidFields(violations_));
    DropUnusedKeys();
    return std::move(result_);
  }

 private:
  // The first rule for a field says enough.
  void Add(const std::string& field, const std::string& rule) {
    if (wrong_fields_.insert(field).second) violations_.push_back({field, rule, ""});
  }
  void AddIf(const std::string& field, const std::string& problem) {
    if (!problem.empty()) Add(field, problem);
  }

  void CheckKind(const FleetConfiguration& document) {
    if (!document.has_ssh_config()) {
      Add("ssh_config",
          document.has_nodes()
              ? "is missing: fleets of cloud nodes need a backend, and this server has none"
              : "is missing: a fleet needs hosts");
      return;
    }
    if (document.has_nodes()) Add("nodes", "must not be set together with ssh_config");
    if (document.has_resources())
      Add("resources", "is for fleets of cloud nodes; hosts of ssh_config report theirs");
    RefuseProfile(document.profile());
    if (document.placement() == config::v1::PLACEMENT_CLUSTER) {
      Add("placement", "'cluster' is not supported by this version");
    }
    CheckBlocks("blocks", document.has_blocks() ? &document.blocks() : nullptr);
  }

  void RefuseProfile(const config::v1::ProfileParams& profile) {
    std::vector<const google::protobuf::FieldDescriptor*> given;
    profile.GetReflection()->ListFields(profile, &given);
    for (const auto* field : given) {
      if (config::RulesOf(*field).hidden()) continue;
      Add(config::KeyName(*field), "is for fleets of cloud nodes, not for hosts of ssh_config");
    }
  }

  void CheckBlocks(const std::string& field, const config::v1::Blocks* blocks) {
    if (blocks == nullptr || blocks->division_case() != config::v1::Blocks::kCount) return;
    if (blocks->count() < 1 || blocks->count() > kMaxBlocks) {
      Add(field,
          fmt::format(
              "must be 'auto' or a number from 1 to {}; it is {}", kMaxBlocks, blocks->count()));
    }
  }

  // Moves a key out of the document: documents are stored and returned as they are, keys are stored
  // encrypted and never returned.
  template <typename SetName>
  void TakeKey(const std::string& field,
               const std::string& identity_file,
               bool has_identity_file,
               config::v1::SshKey* key,
               const SetName& set_name) {
    if (key->private_key().empty()) return;
    const std::string name =
        has_identity_file && !identity_file.empty() ? identity_file : field + ".ssh_key";
    (*result_.spec.mutable_ssh_keys())[name] = key->private_key();
    set_name(name);
  }

  void TakeJumpKey(const std::string& field, ProxyJump& jump) {
    TakeKey(
        field, jump.identity_file(), true, jump.mutable_ssh_key(), [&](const std::string& name) {
          jump.set_identity_file(name);
        });
    jump.clear_ssh_key();
  }

  std::uint16_t Port(const std::string& field, bool has_port, int port, int fallback) {
    if (!has_port) return static_cast<std::uint16_t>(fallback);
    if (port < 1 || port > 65535) {
      Add(field, fmt::format("must be a port from 1 to 65535; it is {}", port));
      return 22;
    }
    return static_cast<std::uint16_t>(port);
  }

  void CheckKey(const std::string& field, const std::string& name) {
    if (name.empty()) {
      Add(field,
          "is missing: the host has no key of its own, and ssh_config.identity_file is not set");
      return;
    }
    used_keys_.insert(name);
    const auto& keys = result_.spec.ssh_keys();
    const auto key = keys.find(name);
    if (key == keys.end()) {
      if (needs_keys_)
        Add(field, fmt::format("the content of key file '{}' was not sent in ssh_keys", name));
      return;
    }
    const std::string problem = PrivateKeyProblem(key->second);
    if (!problem.empty()) Add(field, fmt::format("key file '{}' {}", name, problem));
  }

  void CheckHostKey(const std::string& field, const std::string& host_key) {
    const bool is_line = host_key.find_first_of(std::string("\n\r\0", 3)) == std::string::npos;
    const bool is_key = host_key.rfind("ssh-", 0) == 0 || host_key.rfind("ecdsa-", 0) == 0 ||
                        host_key.rfind("sk-", 0) == 0;
    if (!is_line || !is_key || host_key.find(' ') == std::string::npos ||
        host_key.size() > kMaxKeyBytes) {
      Add(field, "must be a public key in one line, such as 'ssh-ed25519 AAAA...'");
    }
  }

  void ResolveHost(const FleetConfiguration& document, const std::string& field, SshHost& host) {
    const SshConfig& shared = document.ssh_config();
    TakeKey(field,
            host.identity_file(),
            host.has_identity_file(),
            host.mutable_ssh_key(),
            [&](const std::string& name) { host.set_identity_file(name); });
    host.clear_ssh_key();
    NewHost result;
    result.hostname = host.hostname();
    AddIf(field + ".hostname", HostnameProblem(result.hostname));
    const auto shared_port = Port("ssh_config.port", shared.has_port(), shared.port(), 22);
    result.port = Port(field + ".port", host.has_port(), host.port(), shared_port);
    result.user = host.has_user() ? host.user() : shared.user();
    AddIf(field + ".user", UserProblem(result.user));
    result.identity_key_name =
        host.has_identity_file() ? host.identity_file() : shared.identity_file();
    CheckKey(field + ".identity_file", result.identity_key_name);
    if (host.has_host_key()) {
      CheckHostKey(field + ".host_key", host.host_key());
      result.host_key = host.host_key();
    }
    result.internal_ip = host.internal_ip();
    CheckBlocks(field + ".blocks", host.has_blocks() ? &host.blocks() : nullptr);
    result.blocks = BlocksOf(host.has_blocks() ? host.blocks() : document.blocks());
    if (host.has_proxy_jump()) {
      result.jump = ResolveJump(field + ".proxy_jump", *host.mutable_proxy_jump());
    } else if (shared.has_proxy_jump()) {
      ProxyJump jump = shared.proxy_jump();
      result.jump = ResolveJump("ssh_config.proxy_jump", jump);
    }
    if (!seen_.insert({result.hostname, result.port}).second) {
      Add(field,
          fmt::format("host {} port {} is in the list already", result.hostname, result.port));
    }
    result_.hosts.push_back(std::move(result));
  }

  NewHost::Jump ResolveJump(const std::string& field, ProxyJump& jump) {
    TakeJumpKey(field, jump);
    NewHost::Jump result;
    result.hostname = jump.hostname();
    AddIf(field + ".hostname", HostnameProblem(result.hostname));
    result.port = Port(field + ".port", jump.has_port(), jump.port(), 22);
    result.user = jump.user();
    AddIf(field + ".user", UserProblem(result.user));
    result.identity_key_name = jump.identity_file();
    CheckKey(field + ".identity_file", result.identity_key_name);
    if (jump.has_host_key()) {
      CheckHostKey(field + ".host_key", jump.host_key());
      result.host_key = jump.host_key();
    }
    return result;
  }

  static std::uint32_t BlocksOf(const config::v1::Blocks& blocks) {
    if (blocks.division_case() == config::v1::Blocks::kAuto) return 0;
    return blocks.division_case() == config::v1::Blocks::kCount
               ? static_cast<std::uint32_t>(blocks.count())
               : 1;
  }

  void CheckInternalAddresses(const SshConfig& ssh) {
    int count = 0;
    for (const SshHost& host : ssh.hosts()) count += host.has_internal_ip() ? 1 : 0;
    if (count == 0) return;
    if (count < ssh.hosts_size())
      Add("ssh_config.hosts", "internal_ip must be set for all hosts or for none");
    if (ssh.has_network()) Add("ssh_config.network", "must not be set together with internal_ip");
  }

  void CheckEnv(const FleetConfiguration& document) {
    for (int i = 0; i < document.env_size(); ++i) {
      const auto& variable = document.env(i);
      const std::string field = fmt::format("env[{}]", i);
      if (variable.name().empty() ||
          variable.name().find_first_of(std::string("=\0", 2)) != std::string::npos) {
        Add(field, "must have a name without '='");
      }
      if (!variable.has_value())
        Add(field, fmt::format("variable {} has no value", variable.name()));
    }
  }

  // Keys that no host names are not kept.
  void DropUnusedKeys() {
    auto& keys = *result_.spec.mutable_ssh_keys();
    for (auto it = keys.begin(); it != keys.end();) {
      it = used_keys_.count(it->first) > 0 ? std::next(it) : keys.erase(it);
    }
  }

  const bool needs_keys_;
  ResolvedFleet result_;
  std::vector<base::FieldViolation> violations_;
  std::set<std::string> wrong_fields_;
  std::set<std::pair<std::string, std::uint16_t>> seen_;
  std::set<std::string> used_keys_;
};

// The name of the cipher in an OpenSSH key file: "none" for a key without passphrase.
std::string OpenSshCipher(const std::string& private_key) {
  const auto begin = private_key.find('\n');
  const auto end = private_key.find("-----END");
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  std::string base64;
  for (const char c : private_key.substr(begin, end - begin)) {
    if (std::isspace(static_cast<unsigned char>(c)) == 0) base64 += c;
  }
  std::string bytes;
  if (!absl::Base64Unescape(base64, &bytes)) return "";
  constexpr std::string_view kMagic("openssh-key-v1\0", 15);
  if (bytes.size() < kMagic.size() + 4 || bytes.compare(0, kMagic.size(), kMagic) != 0) return "";
  const std::size_t length = static_cast<unsigned char>(bytes[kMagic.size() + 3]);
  return bytes.substr(kMagic.size() + 4, length);
}

}  // namespace

std::string PrivateKeyProblem(const std::string& private_key) {
  if (private_key.size() > kMaxKeyBytes) return "is larger than 64 KiB";
  const auto first = private_key.find_first_not_of(" \t\r\n");
  const std::string_view text =
      std::string_view(private_key).substr(first == std::string::npos ? 0 : first);
  const bool is_pem =
      text.rfind("-----BEGIN ", 0) == 0 && text.find(" PRIVATE KEY-----") != std::string_view::npos;
  if (!is_pem) return "is no private key in PEM or OpenSSH format";
  if (text.rfind("-----BEGIN OPENSSH ", 0) == 0) {
    const std::string cipher = OpenSshCipher(std::string(text));
    if (cipher.empty()) return "is damaged";
    if (cipher != "none") return "needs a passphrase; use a key without one";
  } else if (text.find("ENCRYPTED") != std::string_view::npos) {
    return "needs a passphrase; use a key without one";
  }
  return "";
}

absl::StatusOr<ResolvedFleet> ResolveFleet(const api::v1::FleetSpec& spec, bool needs_keys) {
  return Resolver(spec, needs_keys).Resolve();
}

HostChange DiffHosts(const std::vector<Instance>& live, const std::vector<NewHost>& wanted) {
  HostChange change;
  std::set<std::pair<std::string, std::uint16_t>> wanted_places;
  std::set<std::pair<std::string, std::uint16_t>> live_places;
  for (const NewHost& host : wanted) wanted_places.insert({host.hostname, host.port});
  for (const Instance& instance : live) {
    if (instance.status == api::v1::INSTANCE_STATUS_TERMINATING || IsFinal(instance.status))
      continue;
    live_places.insert({instance.hostname, instance.port});
    if (wanted_places.count({instance.hostname, instance.port}) == 0)
      change.removed.push_back(instance.id);
  }
  for (const NewHost& host : wanted) {
    if (live_places.count({host.hostname, host.port}) == 0) change.added.push_back(host);
  }
  return change;
}

}  // namespace dstack::server
