#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/secret.h"
#include "services/server/ports/retention_store.h"

namespace dstack::server {

// Whether the client's settings of this user shall point at this server.
enum class ClientUpdate { kAsk, kYes, kNo };

// Everything the process is told at its start: flags over environment over defaults. Nobody behind
// this reads the environment.
struct Options {
  enum class Command { kServe, kMigrate };
  Command command = Command::kServe;

  std::string host = "127.0.0.1";
  std::uint16_t port = 3000;
  bool is_plaintext_allowed = false;  // --insecure
  std::string tls_certificate_file;
  std::string tls_key_file;

  std::string home;          // directory of the server, absolute
  std::string client_home;   // directory of the client's settings of this user; empty: none
  std::string database_url;  // empty: a private PostgreSQL under home
  std::string admin_token_file;
  base::Secret admin_token;     // empty: generated on the first start
  base::Secret encryption_key;  // base64 of 32 bytes; empty: generated on the first start

  bool has_local_host = false;
  std::string agents_dir;
  std::string base_image;
  std::string docker_image = "dstackai/dind:latest";
  std::chrono::milliseconds host_lost_after = std::chrono::minutes(15);

  Retention retention;

  std::string log_level = "info";
  bool is_log_json = false;
  ClientUpdate client_update = ClientUpdate::kAsk;
};

// What a command line came to: options, or a text for the person and the exit status (help,
// version, wrong usage).
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
  std::string text;
};

// Pure. `lookup` gives the value of an environment variable; nullopt: not set.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;
ParsedOptions ParseOptions(const std::vector<std::string>& arguments,
                           const EnvironmentLookup& lookup);

}  // namespace dstack::server
