#include "clients/cli/repo/access.h"

#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>

#include "clients/cli/repo/git_command.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/ssh/quote.h"

namespace dstack::cli {
namespace {

constexpr std::chrono::seconds kProbeTimeout{30};
constexpr size_t kMaxKeyBytes = 64 << 10;

using Variables = std::map<std::string, std::string>;

// True when the remote answers to `git ls-remote`. Neither a helper nor a setting of the person's
// own answers for them: the host that clones has none.
absl::StatusOr<bool> Answers(const std::string& url, Variables variables) {
  variables["GIT_CONFIG_NOSYSTEM"] = "1";
  variables["GIT_CONFIG_GLOBAL"] = "/dev/null";
  variables["GIT_ASKPASS"] = "/bin/false";
  const auto output =
      RunGit("/",
             {"-c", "credential.helper=", "ls-remote", "--quiet", "--", url, "HEAD"},
             variables,
             kProbeTimeout);
  if (absl::IsNotFound(output.status())) return output.status();
  return output.ok() && output->status == 0;
}

// The token goes by a variable, where no other user sees it.
Variables WithToken(const base::GitUrl& url, const std::string& token) {
  return {
      {"GIT_CONFIG_COUNT", "1"},
      {"GIT_CONFIG_KEY_0", fmt::format("http.{}/.extraHeader", url.Origin())},
      {"GIT_CONFIG_VALUE_0", "Authorization: Basic " + absl::Base64Escape("anything:" + token)}};
}

// git runs the variable through a shell: the path is the only thing that is not fixed.
Variables WithKey(const std::string& path) {
  return {{"GIT_SSH_COMMAND",
           fmt::format("ssh -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none "
                       "-o StrictHostKeyChecking=accept-new -o ConnectTimeout=10 -i {}",
                       ssh::QuoteWord(path))}};
}

// Files that ssh would try for this host.
std::vector<std::string> DefaultKeys(const Environment& environment, const base::GitUrl& url) {
  const auto output = process::Run({"ssh", "-G", "-l", url.user, "--", url.host}, kProbeTimeout);
  std::vector<std::string> paths;
  if (!output.ok()) return paths;
  for (absl::string_view line : absl::StrSplit(output->stdout_text, '\n')) {
    if (!absl::ConsumePrefix(&line, "identityfile ")) continue;
    const std::string path = environment.ResolvePath(std::string(line), environment.home);
    if (base::Exists(path)) paths.push_back(path);
  }
  return paths;
}

absl::StatusOr<RepoAccess> ByKey(const base::GitUrl& url, const std::string& path) {
  const auto key = base::ReadFile(path, kMaxKeyBytes);
  if (!key.ok())
    return base::InvalidField("--git-identity", std::string(base::Message(key.status())));
  return RepoAccess{
      .url = url.ToString(), .token = "", .private_key = base::Secret(*key), .note = ""};
}

absl::StatusOr<RepoAccess> ByFlags(const Environment& environment,
                                   const base::GitUrl& url,
                                   const AccessFlags& flags) {
  if (url.is_ssh() && flags.identity.empty()) {
    return base::InvalidField("--token", "is for https addresses, use --git-identity");
  }
  if (!url.is_ssh() && flags.token.empty()) {
    return base::InvalidField("--git-identity", "is for ssh addresses, use --token");
  }
  if (!url.is_ssh()) {
    ASSIGN_OR_RETURN(const bool works, Answers(url.ToString(), WithToken(url, flags.token)));
    if (!works)
      return base::InvalidField("--token", fmt::format("{} does not accept it", url.host));
    return RepoAccess{.url = url.ToString(), .token = flags.token, .note = ""};
  }
  const std::string path = environment.ResolvePath(flags.identity, environment.working_directory);
  ASSIGN_OR_RETURN(RepoAccess access, ByKey(url, path));
  ASSIGN_OR_RETURN(const bool works, Answers(access.url, WithKey(path)));
  if (works) return access;
  return base::InvalidField("--git-identity", fmt::format("{} does not accept {}", url.host, path));
}

absl::StatusOr<std::optional<RepoAccess>> ByDefaultKey(const Environment& environment,
                                                       const base::GitUrl& url) {
  for (const std::string& path : DefaultKeys(environment, url)) {
    ASSIGN_OR_RETURN(const bool works, Answers(url.ToString(), WithKey(path)));
    if (!works) continue;
    ASSIGN_OR_RETURN(RepoAccess access, ByKey(url, path));
    access.note = fmt::format("{} is cloned with the key {}", access.url, path);
    return std::optional(std::move(access));
  }
  return std::optional<RepoAccess>();
}

absl::StatusOr<std::optional<RepoAccess>> ByGhToken(const Environment& environment,
                                                    const base::GitUrl& url) {
  const std::string path = environment.ResolvePath("~/.config/gh/hosts.yml", "");
  const std::string token = GhToken(base::ReadFile(path).value_or(""), url.host);
  if (token.empty()) return std::optional<RepoAccess>();
  ASSIGN_OR_RETURN(const bool works, Answers(url.ToString(), WithToken(url, token)));
  if (!works) return std::optional<RepoAccess>();
  return std::optional(
      RepoAccess{.url = url.ToString(),
                 .token = token,
                 .note = fmt::format("{} is cloned with the token of {}", url.ToString(), path)});
}

// Addresses that need no credentials; an ssh one has the same path by https at the public forges.
std::vector<std::string> PublicForms(const base::GitUrl& url) {
  if (!url.is_ssh()) return {url.ToString()};
  if (url.port != 0) return {};
  base::GitUrl web = url;
  web.scheme = base::GitUrl::Scheme::kHttps;
  web.user.clear();
  if (!web.path.starts_with('/')) web.path.insert(0, "/");
  return {web.ToString()};
}

}  // namespace

std::string GhToken(const std::string& hosts_yml, const std::string& host) {
  bool is_host = false;
  for (absl::string_view line : absl::StrSplit(hosts_yml, '\n')) {
    const bool is_top = !line.empty() && !absl::ascii_isspace(static_cast<unsigned char>(line[0]));
    if (is_top) is_host = absl::StripAsciiWhitespace(line) == host + ":";
    absl::string_view field = absl::StripAsciiWhitespace(line);
    if (is_host && absl::ConsumePrefix(&field, "oauth_token:")) {
      return std::string(absl::StripAsciiWhitespace(field));
    }
  }
  return "";
}

absl::StatusOr<RepoAccess> FindAccess(const Environment& environment,
                                      const base::GitUrl& url,
                                      const AccessFlags& flags) {
  if (!flags.token.empty() || !flags.identity.empty()) return ByFlags(environment, url, flags);
  for (const std::string& form : PublicForms(url)) {
    ASSIGN_OR_RETURN(const bool works, Answers(form, {}));
    if (works) return RepoAccess{.url = form, .token = "", .note = ""};
  }
  ASSIGN_OR_RETURN(auto access,
                   url.is_ssh() ? ByDefaultKey(environment, url) : ByGhToken(environment, url));
  if (access.has_value()) return *std::move(access);
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "ACCESS_DENIED",
                     fmt::format("{} cannot be cloned: no such repository, or it needs {}",
                                 url.ToString(),
                                 url.is_ssh() ? "a key (--git-identity)" : "a token (--token)"));
}

}  // namespace dstack::cli
