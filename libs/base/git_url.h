#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/statusor.h>

// Addresses of git repositories as client, server and runner understand them. Pure.
namespace dstack::base {

struct GitUrl {
  enum class Scheme { kHttps, kHttp, kSsh };

  Scheme scheme = Scheme::kHttps;
  std::string user;        // empty for https; "git" for ssh when the address names none
  std::string host;        // without brackets
  std::uint16_t port = 0;  // 0: the scheme's own
  std::string path;        // as git wants it: "/o/r.git", or "o/r.git" of "git@host:o/r.git"

  bool is_ssh() const { return scheme == Scheme::kSsh; }
  // For git; an ssh address always names its user.
  std::string ToString() const;
  // Scheme, host and port: where a token may be sent. Empty for ssh.
  std::string Origin() const;
};

// Takes https://, ssh:// and user@host:path; http:// for loopback addresses alone, where nobody can
// listen. INVALID_ARGUMENT names the rule: other schemes, passwords in the address, control
// characters, and users or hosts that begin with "-" are refused.
absl::StatusOr<GitUrl> ParseGitUrl(std::string_view text);

// "<repository>-<8 characters of the digest of host and path>": the same for every form of an
// address.
std::string GitRepoId(const GitUrl& url);

}  // namespace dstack::base
