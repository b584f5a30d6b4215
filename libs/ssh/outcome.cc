#include "libs/ssh/outcome.h"

#include <array>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "libs/base/status.h"

namespace dstack::ssh {
namespace {

struct Row {
  std::string_view text;
  Failure failure;
};

// In order of weight: a changed key also ends in "Host key verification failed", and an unusable
// identity also ends in "Permission denied". Texts are those of OpenSSH 7 to 9.
constexpr std::array kTable = {
    Row{"REMOTE HOST IDENTIFICATION HAS CHANGED", Failure::kHostKeyChanged},
    Row{"host key is known for", Failure::kHostKeyChanged},
    Row{"Host key verification failed", Failure::kHostKeyChanged},
    Row{"incorrect passphrase supplied", Failure::kIdentityUnusable},
    Row{"error in libcrypto", Failure::kIdentityUnusable},
    Row{"invalid format", Failure::kIdentityUnusable},
    Row{"UNPROTECTED PRIVATE KEY FILE", Failure::kIdentityUnusable},
    Row{"Permission denied", Failure::kAuthenticationRefused},
    Row{"Too many authentication failures", Failure::kAuthenticationRefused},
    Row{"No more authentication methods", Failure::kAuthenticationRefused},
    Row{"administratively prohibited", Failure::kForwardRefused},
    Row{"forwarding failed", Failure::kForwardRefused},
    Row{"Could not request local forwarding", Failure::kForwardRefused},
    Row{"timed out", Failure::kTimeout},
    Row{"not responding", Failure::kTimeout},
    Row{"Connection refused", Failure::kConnectionRefused},
    Row{"Could not resolve hostname", Failure::kNameLookup},
    Row{"No route to host", Failure::kNoRoute},
    Row{"Network is unreachable", Failure::kNoRoute},
    Row{"Connection closed", Failure::kConnectionClosed},
    Row{"Connection reset", Failure::kConnectionClosed},
    Row{"Broken pipe", Failure::kConnectionClosed},
    Row{"closed by remote host", Failure::kConnectionClosed},
};

std::string_view Explain(Failure failure) {
  switch (failure) {
    case Failure::kAuthenticationRefused:
      return "the host accepts none of the given keys";
    case Failure::kIdentityUnusable:
      return "a private key cannot be used: it is no OpenSSH key, or a passphrase protects it";
    case Failure::kHostKeyChanged:
      return "the host key is not the recorded one";
    case Failure::kTimeout:
      return "the host does not answer";
    case Failure::kConnectionRefused:
      return "connection refused: no ssh server listens there";
    case Failure::kNameLookup:
      return "the host name cannot be resolved";
    case Failure::kNoRoute:
      return "there is no route to the host";
    case Failure::kForwardRefused:
      return "the ssh server forbids forwarding (AllowStreamLocalForwarding, AllowTcpForwarding)";
    case Failure::kConnectionClosed:
      return "the host closed the connection";
    case Failure::kUnknown:
      break;
  }
  return "ssh failed";
}

// The last line that says something, as ssh wrote it.
std::string LastLine(std::string_view log) {
  std::string last;
  for (const absl::string_view part : absl::StrSplit(base::ToAbsl(log), '\n')) {
    const absl::string_view line = absl::StripAsciiWhitespace(part);
    if (!line.empty()) last = std::string(line);
  }
  constexpr std::size_t kLongest = 300;
  if (last.size() > kLongest) last.resize(kLongest);
  return last;
}

absl::Status KeyChangedError(std::string_view log,
                             const std::string& destination,
                             const std::string& recorded) {
  const std::string offered = OfferedFingerprint(log);
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "HOST_KEY_CHANGED",
      fmt::format("{}: the host key is {} but {} was recorded; if the host was reinstalled, "
                  "remove it from the fleet and add it again",
                  destination,
                  offered.empty() ? "another one" : offered,
                  recorded.empty() ? "another one" : recorded),
      {{"recorded_fingerprint", recorded}, {"offered_fingerprint", offered}});
}

}  // namespace

Failure Classify(std::string_view log) {
  for (const Row& row : kTable) {
    if (log.find(row.text) != std::string_view::npos) return row.failure;
  }
  return Failure::kUnknown;
}

std::string OfferedFingerprint(std::string_view log) {
  // "The fingerprint for the ED25519 key sent by the remote host is\nSHA256:....\n"
  const std::size_t intro = log.find("sent by the remote host is");
  if (intro == std::string_view::npos) return "";
  const std::size_t begin = log.find("SHA256:", intro);
  if (begin == std::string_view::npos) return "";
  std::size_t end = log.find_first_of(" \r\n", begin);
  if (end == std::string_view::npos) end = log.size();
  std::string fingerprint(log.substr(begin, end - begin));
  if (!fingerprint.empty() && fingerprint.back() == '.') fingerprint.pop_back();
  return fingerprint;
}

absl::Status ConnectionError(std::string_view log,
                             const std::string& destination,
                             const std::string& recorded_fingerprint) {
  const Failure failure = Classify(log);
  if (failure == Failure::kHostKeyChanged) {
    return KeyChangedError(log, destination, recorded_fingerprint);
  }
  std::string message = fmt::format("{}: {}", destination, Explain(failure));
  if (const std::string line = LastLine(log); !line.empty()) message += " (ssh: " + line + ")";
  if (failure == Failure::kAuthenticationRefused || failure == Failure::kIdentityUnusable) {
    return base::Error(absl::StatusCode::kPermissionDenied, "ACCESS_DENIED", message);
  }
  return base::Error(absl::StatusCode::kUnavailable, "HOST_UNREACHABLE", message);
}

}  // namespace dstack::ssh
