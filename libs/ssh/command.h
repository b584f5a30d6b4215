#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>

// Command lines of the OpenSSH client. Pure functions: what they return is an argument list for
// process::Subprocess, never text for a shell.
namespace dstack::ssh {

// One machine on the way, and the files that belong to the connection to it.
struct Hop {
  // Name, IPv4 address or IPv6 address (with or without brackets).
  std::string hostname;
  std::uint16_t port = 22;
  std::string user;
  // Private keys, tried in this order.
  std::vector<std::string> identity_files;
  // Known hosts of this connection alone; its lines name `host_key_alias`.
  std::string known_hosts_file;
  std::string host_key_alias;
  // The file holds the key that the host must show. Otherwise the first key that it shows is
  // recorded there.
  bool is_key_pinned = false;
};

struct ConnectionSpec {
  Hop host;
  // Reached first; the connection to the host runs through it.
  std::optional<Hop> jump;
  // Socket of the master. ssh binds a name that is 17 bytes longer first.
  std::string control_path;
  std::chrono::seconds connect_timeout{10};
};

// INVALID_ARGUMENT naming field, value and rule when the host, user or a path cannot be used:
// empty, beginning with '-', or holding blanks or control characters.
absl::Status Validate(const ConnectionSpec& spec);

// A master that stays in the foreground and runs `remote_argv` as its own session.
std::vector<std::string> MasterCommand(const ConnectionSpec& spec,
                                       const std::vector<std::string>& remote_argv);

// The rest speaks to a living master over its control socket only: without one it fails at once and
// never opens a connection of its own.
std::vector<std::string> ForwardCommand(const std::string& control_path,
                                        const std::string& local_socket,
                                        const std::string& remote_socket);
std::vector<std::string> CancelForwardCommand(const std::string& control_path,
                                              const std::string& local_socket,
                                              const std::string& remote_socket);
std::vector<std::string> ExecCommand(const std::string& control_path,
                                     const std::vector<std::string>& remote_argv);
std::vector<std::string> ExitCommand(const std::string& control_path);

// Without the brackets that an IPv6 address may have in documents.
std::string BareHostname(const std::string& hostname);

}  // namespace dstack::ssh
