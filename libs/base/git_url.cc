#include "libs/base/git_url.h"

#include <algorithm>
#include <charconv>

#include <absl/strings/ascii.h>
#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::base {
namespace {

constexpr std::size_t kMaxLength = 2048;
constexpr std::string_view kDefaultSshUser = "git";

absl::Status Refuse(std::string_view text, std::string_view rule) {
  return Invalid(fmt::format("repository address {:?}: {}", text, rule));
}

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
  });
}

// "host", "host:port" or "[v6]:port".
absl::Status ParseHost(std::string_view text, std::string_view address, GitUrl* url) {
  std::string_view port;
  if (address.starts_with('[')) {
    const std::size_t end = address.find(']');
    if (end == std::string_view::npos) return Refuse(text, "\"]\" is missing");
    url->host = address.substr(1, end - 1);
    port = address.substr(end + 1);
  } else {
    const std::size_t colon = address.find(':');
    url->host = address.substr(0, colon);
    if (colon != std::string_view::npos) port = address.substr(colon);
  }
  if (!port.empty()) {
    const char* end = port.data() + port.size();
    const auto [rest, error] = std::from_chars(port.data() + 1, end, url->port);
    if (port.front() != ':' || error != std::errc() || rest != end || url->port == 0) {
      return Refuse(text, "the port is not a number from 1 to 65535");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckParts(std::string_view text, const GitUrl& url) {
  if (url.host.empty()) return Refuse(text, "there is no host");
  // ssh would take them for options.
  if (url.host.front() == '-' || (!url.user.empty() && url.user.front() == '-')) {
    return Refuse(text, "user and host must not begin with \"-\"");
  }
  if (url.user.find('/') != std::string::npos) return Refuse(text, "the user must not hold \"/\"");
  const bool is_host = std::all_of(url.host.begin(), url.host.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_' ||
           c == ':';
  });
  if (!is_host) return Refuse(text, "the host may have letters, digits, \".\", \"-\" and \"_\"");
  const std::string_view path = url.path;
  if (path.find_first_not_of('/') == std::string_view::npos)
    return Refuse(text, "there is no path");
  if (path.front() == '-') return Refuse(text, "the path must not begin with \"-\"");
  if (url.scheme == GitUrl::Scheme::kHttp && !IsLoopback(url.host)) {
    return Refuse(text, "http:// is for this machine alone, use https://");
  }
  return absl::OkStatus();
}

// user@host:path
absl::StatusOr<GitUrl> ParseScpLike(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::size_t colon = text.find(':');
  if (at == std::string_view::npos || colon == std::string_view::npos || colon < at || at == 0) {
    return Refuse(text, "must begin with https:// or ssh://, or be user@host:path");
  }
  GitUrl url;
  url.scheme = GitUrl::Scheme::kSsh;
  url.user = text.substr(0, at);
  url.host = text.substr(at + 1, colon - at - 1);
  url.path = text.substr(colon + 1);
  RETURN_IF_ERROR(CheckParts(text, url));
  return url;
}

}  // namespace

std::string GitUrl::ToString() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  const std::string address = is_v6 ? fmt::format("[{}]", host) : host;
  const std::string port_text = port == 0 ? "" : fmt::format(":{}", port);
  if (!is_ssh()) return Origin() + path;
  // A path that does not begin with "/" can only be written in this form.
  if (!path.starts_with('/')) return fmt::format("{}@{}:{}", user, address, path);
  return fmt::format("ssh://{}@{}{}{}", user, address, port_text, path);
}

std::string GitUrl::Origin() const {
  if (is_ssh()) return "";
  const bool is_v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}",
                     scheme == Scheme::kHttps ? "https" : "http",
                     is_v6 ? fmt::format("[{}]", host) : host,
                     port == 0 ? "" : fmt::format(":{}", port));
}

absl::StatusOr<GitUrl> ParseGitUrl(std::string_view text) {
  if (text.size() > kMaxLength) {
    return Refuse(text.substr(0, 64), fmt::format("is longer than {} bytes", kMaxLength));
  }
  if (HasControl(text)) return Refuse(text, "must not contain blanks or control characters");
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return ParseScpLike(text);
  GitUrl url;
  const std::string_view scheme = text.substr(0, scheme_end);
  if (scheme == "https") {
    url.scheme = GitUrl::Scheme::kHttps;
  } else if (scheme == "http") {
    url.scheme = GitUrl::Scheme::kHttp;
  } else if (scheme == "ssh") {
    url.scheme = GitUrl::Scheme::kSsh;
  } else {
    return Refuse(text, fmt::format("scheme {:?} is not supported, use https or ssh", scheme));
  }
  std::string_view rest = text.substr(scheme_end + 3);
  const std::size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.path = rest.substr(slash);
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    url.user = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    // Not shown: it may be the password.
    if (!url.is_ssh() || url.user.find(':') != std::string::npos) {
      return Invalid(fmt::format(
          "repository address of host {:?}: must not hold a user or password, give the token apart",
          authority));
    }
  }
  if (url.is_ssh() && url.user.empty()) url.user = kDefaultSshUser;
  RETURN_IF_ERROR(ParseHost(text, authority, &url));
  RETURN_IF_ERROR(CheckParts(text, url));
  return url;
}

std::string GitRepoId(const GitUrl& url) {
  std::string path = url.path;
  while (path.ends_with('/')) path.pop_back();
  if (path.ends_with(".git")) path.resize(path.size() - 4);
  path.erase(0, path.find_first_not_of('/'));
  std::string digest = Sha256Bytes(url.host + "/" + path);
  // The digest as a little-endian number in base 36: its lowest 32 digits, of which the first 8.
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  constexpr int kBase = 36;
  std::string number;
  for (int i = 0; i < 32; ++i) {
    int remainder = 0;
    for (std::size_t at = digest.size(); at-- > 0;) {
      const int value = remainder * 256 + static_cast<unsigned char>(digest[at]);
      digest[at] = static_cast<char>(value / kBase);
      remainder = value % kBase;
    }
    number += kDigits[static_cast<std::size_t>(remainder)];
  }
  std::reverse(number.begin(), number.end());
  return fmt::format("{}-{}", path.substr(path.rfind('/') + 1), number.substr(0, 8));
}

}  // namespace dstack::base
