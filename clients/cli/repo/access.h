// Finds the credentials with which a host can clone a repository.
#pragma once

#include <string>

#include <absl/status/statusor.h>

#include "clients/cli/session/environment.h"
#include "libs/base/git_url.h"
#include "libs/base/secret.h"

namespace dstack::cli {

// What the person gave; empty: nothing.
struct AccessFlags {
  std::string token;
  std::string identity;  // path of a private key
};

struct RepoAccess {
  std::string url;  // may differ from the one asked for: a public ssh address is cloned by https
  std::string token;
  base::Secret private_key{std::string()};
  std::string note;  // for people, when something of theirs is handed over that they did not name
};

// Tries, each with a question to the remote: what the flags give; no credentials; the default key
// of ssh for this host; the token of the GitHub command line client. FAILED_PRECONDITION when none
// of them works: it names the flags.
absl::StatusOr<RepoAccess> FindAccess(const Environment& environment,
                                      const base::GitUrl& url,
                                      const AccessFlags& flags);

// "oauth_token" of a host in gh's hosts.yml; empty when there is none. Pure.
std::string GhToken(const std::string& hosts_yml, const std::string& host);

}  // namespace dstack::cli
