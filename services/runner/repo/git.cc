#include "services/runner/repo/git.h"

#include <array>
#include <cerrno>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "services/runner/repo/tool.h"
#include "services/runner/sshd/account.h"
#include "services/runner/sshd/bundle.h"

namespace dstack::runner {
namespace {

constexpr std::size_t kKeptErrorBytes = 16 << 10;
constexpr std::size_t kMaxOutputBytes = 8 << 20;
constexpr std::chrono::milliseconds kStopProbe{100};
constexpr std::chrono::seconds kProgressInterval{1};
// Any user will do; this is what forges document.
constexpr std::string_view kTokenUser = "anything";
constexpr std::string_view kApply = "apply";

// Authorities of the image, which may know a company's own one.
constexpr std::array kImageCertificates = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

std::string ConfigString(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

struct Failure {
  std::string_view sign;
  std::string_view meaning;
};

// Any command.
constexpr std::array kDiskFailures = {
    Failure{"No space left on device", "no space left on the disk"},
    Failure{"Disk quota exceeded", "no space left on the disk"},
};

// Commands that speak with servers. In order: ssh's own words come before what git makes of them.
constexpr std::array kServerFailures = {
    Failure{"Permission denied (publickey", "authentication failed: the key was not accepted"},
    Failure{"Host key verification failed", "the host key of the server was not accepted"},
    Failure{"Authentication failed", "authentication failed: the token was not accepted"},
    Failure{"could not read Username", "authentication failed: a token is needed"},
    Failure{"returned error: 401", "authentication failed: the token was not accepted"},
    Failure{"returned error: 403", "authentication failed: access is forbidden"},
    Failure{"Could not resolve host", "the host is not known"},
    Failure{"returned error: 404", "there is no such repository, or no access to it"},
    Failure{"' not found", "there is no such repository, or no access to it"},
    Failure{"epository not found", "there is no such repository, or no access to it"},
    Failure{"not appear to be a git repository", "there is no such repository, or no access to it"},
    Failure{"does not exist", "there is no such repository, or no access to it"},
    Failure{"ouldn't find remote ref", "there is no such branch"},
    Failure{"not our ref", "there is no such commit"},
    Failure{"unadvertised object", "there is no such commit"},
    Failure{"Couldn't connect to server", "the server refuses the connection"},
    Failure{"Connection refused", "the server refuses the connection"},
    Failure{"Connection timed out", "the server does not answer"},
    Failure{"Operation timed out", "the server does not answer"},
    Failure{"certificate", "the server's certificate was not accepted"},
};

// git apply, whose errors quote paths that may hold any of the words above.
constexpr std::array kDiffFailures = {
    Failure{"patch does not apply", "the changes do not fit the commit"},
    Failure{"No such file or directory", "the changes do not fit the commit"},
    Failure{"already exists in working directory", "the changes do not fit the commit"},
    Failure{"wrong type", "the changes do not fit the commit"},
    Failure{"corrupt patch", "the diff is damaged"},
    Failure{"corrupt binary patch", "the diff is damaged"},
    Failure{"only garbage", "the diff is damaged"},
    Failure{"bad git-diff", "the diff is damaged"},
    Failure{"has been renamed/deleted", "the diff is damaged"},
    Failure{"lacks filename information", "the diff is damaged"},
    Failure{"No valid patches", "the diff is damaged"},
    Failure{"invalid path", "the diff names a path outside the repository"},
    Failure{"beyond a symbolic link", "the diff names a path behind a symbolic link"},
};

template <std::size_t count>
std::string_view MeaningOf(std::string_view errors, const std::array<Failure, count>& failures) {
  for (const Failure& failure : failures) {
    if (errors.find(failure.sign) != std::string_view::npos) return failure.meaning;
  }
  return "";
}

// "Receiving objects:  45% (9/20)" is progress, of the step before the colon.
bool IsProgress(std::string_view line) {
  return line.find("% (") != std::string_view::npos && line.find(": ") != std::string_view::npos;
}

}  // namespace

std::string DescribeGitFailure(std::string_view command, std::string_view errors) {
  std::string last;
  for (absl::string_view line :
       absl::StrSplit(base::ToAbsl(errors), '\n', absl::SkipWhitespace())) {
    if (IsProgress(base::ToStd(line))) continue;
    // The line that says what failed, not the advice that follows it.
    const bool is_verdict = absl::StartsWith(line, "fatal: ") || absl::StartsWith(line, "error: ");
    if (last.empty() || is_verdict) last = std::string(absl::StripAsciiWhitespace(line));
  }
  if (last.empty()) return "git failed without a word";
  std::string_view meaning = MeaningOf(errors, kDiskFailures);
  if (meaning.empty()) {
    meaning =
        command == kApply ? MeaningOf(last, kDiffFailures) : MeaningOf(errors, kServerFailures);
  }
  return meaning.empty() ? last : fmt::format("{} ({})", meaning, last);
}

std::string RenderGitConfig(const base::GitUrl& url,
                            const std::string& certificates,
                            const std::string& token) {
  using Scheme = base::GitUrl::Scheme;
  std::string text =
      "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n\tpager = cat\n"
      "[credential]\n\thelper =\n"
      "[init]\n\ttemplateDir =\n\tdefaultBranch = main\n"
      "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
      "[fetch]\n\trecurseSubmodules = false\n[submodule]\n\trecurse = false\n"
      "[advice]\n\tdetachedHead = false\n"
      "[safe]\n\tdirectory = *\n";
  text += fmt::format("[http]\n\tsslCAInfo = {}\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n",
                      ConfigString(certificates));
  // Submodules may come by another protocol than the repository itself, but none beyond these.
  text += "[protocol]\n\tallow = never\n[protocol \"https\"]\n\tallow = always\n";
  text += "[protocol \"ssh\"]\n\tallow = always\n";
  if (url.scheme == Scheme::kHttp) text += "[protocol \"http\"]\n\tallow = always\n";
  if (!token.empty() && !url.is_ssh()) {
    const std::string pair = fmt::format("{}:{}", kTokenUser, token);
    text += fmt::format("[http {}]\n\textraHeader = {}\n",
                        ConfigString(url.Origin() + "/"),
                        ConfigString("Authorization: Basic " + absl::Base64Escape(pair)));
  }
  return text;
}

Git::Git(Settings settings, base::GitUrl url, const Places& places)
    : settings_(std::move(settings)), url_(std::move(url)), places_(places) {}

Git::~Git() { base::RemoveAll(settings_.work_dir).IgnoreError(); }

absl::Status Git::Prepare(const v1::GitRepo& repo) {
  if (settings_.bundle_dir.empty() || !base::Exists(settings_.bundle_dir + "/bin/git")) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "INVALID_STATE",
                       "this host has no bundle of tools, git is missing");
  }
  RETURN_IF_ERROR(MakeToolLinks(settings_.work_dir));
  RETURN_IF_ERROR(WriteCertificates());
  RETURN_IF_ERROR(WritePrivate(
      "config",
      RenderGitConfig(
          url_, base::JoinPath(settings_.work_dir, "certificates"), repo.oauth_token())));
  // ssh knows no users by number alone, and images may have no others.
  if (url_.is_ssh()) RETURN_IF_ERROR(WriteOwnAccounts(places_.user, settings_.work_dir));
  has_key_ = url_.is_ssh() && !repo.private_key().empty();
  if (!has_key_) return absl::OkStatus();
  // ssh cannot read a key whose last line has no end.
  const std::string& key = repo.private_key();
  return WritePrivate("key", key.ends_with('\n') ? key : key + "\n");
}

absl::Status Git::WriteCertificates() {
  std::string all = base::ReadFile(settings_.bundle_dir + "/etc/ca-certificates.crt").value_or("");
  for (const char* path : kImageCertificates) {
    const auto own = base::ReadFile(path);
    if (!own.ok()) continue;
    all += "\n" + *own;
    break;
  }
  return base::WriteFileAtomic(base::JoinPath(settings_.work_dir, "certificates"), all, 0644);
}

absl::Status Git::WritePrivate(const std::string& name, std::string_view content) {
  const std::string path = base::JoinPath(settings_.work_dir, name);
  RETURN_IF_ERROR(base::WriteFileAtomic(path, content, 0600));
  if (places_.can_switch && lchown(path.c_str(), places_.user.uid, places_.user.gid) != 0) {
    return base::ErrnoError(errno, path);
  }
  return absl::OkStatus();
}

std::vector<std::string> Git::Environment() const {
  const std::string& dir = settings_.work_dir;
  std::vector<std::string> environment = {"PATH=" + dir,
                                          "HOME=" + dir,
                                          "LC_ALL=C",
                                          "GIT_EXEC_PATH=" + dir,
                                          "GIT_CONFIG_NOSYSTEM=1",
                                          "GIT_ATTR_NOSYSTEM=1",
                                          "GIT_CONFIG_GLOBAL=" + base::JoinPath(dir, "config"),
                                          "GIT_TERMINAL_PROMPT=0",
                                          "GIT_SSH=" + base::JoinPath(dir, "ssh"),
                                          "GIT_SSH_VARIANT=ssh",
                                          // For the reflog of users that the image does not know.
                                          "GIT_COMMITTER_NAME=dstack",
                                          "GIT_COMMITTER_EMAIL=dstack@localhost",
                                          fmt::format("{}={}", kToolBundle, settings_.bundle_dir)};
  if (url_.is_ssh()) {
    environment.push_back(fmt::format("{}={}", kAccountsPasswd, base::JoinPath(dir, "passwd")));
  }
  if (has_key_) {
    environment.push_back(fmt::format("{}={}", kToolSshKey, base::JoinPath(dir, "key")));
  }
  environment.insert(environment.end(), settings_.proxies.begin(), settings_.proxies.end());
  return environment;
}

absl::StatusOr<std::string> Git::Run(const std::vector<std::string>& args,
                                     const std::string& dir,
                                     const std::string& input) {
  std::vector<std::string> argv = {base::JoinPath(settings_.work_dir, "git")};
  argv.insert(argv.end(), args.begin(), args.end());
  if (places_.can_switch) argv = AsUser(places_.user, std::move(argv));
  process::Options options;
  options.env = Environment();
  options.cwd = dir.empty() ? settings_.repo_dir : dir;
  if (!input.empty()) options.stdin_data = input;
  options.stdout_mode = process::Output::kCapture;
  options.output_limit_bytes = kMaxOutputBytes;
  options.stderr_mode = process::Output::kPipe;
  ASSIGN_OR_RETURN(auto git, process::Subprocess::Start(argv, options));
  const base::UniqueFd errors_fd = git.TakeStderr();
  const std::string errors = ReadErrors(errors_fd.get());
  ASSIGN_OR_RETURN(const process::Exit exit, git.WaitUntil(base::kNoDeadline, settings_.stop));
  if (exit.ok()) return git.stdout_text();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "INVALID_STATE",
                     DescribeGitFailure(args.front(), errors));
}

// Until git and all that it started have closed the pipe, or until the stop.
std::string Git::ReadErrors(int fd) {
  std::string kept;
  std::string line;
  std::array<char, 4096> buffer;
  pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
  while (!settings_.stop.stop_requested()) {
    if (poll(&waiting, 1, static_cast<int>(kStopProbe.count())) <= 0) continue;
    const auto got = base::ReadSome(fd, buffer.data(), buffer.size());
    if (!got.ok() || *got == 0) break;
    for (const char c : std::string_view(buffer.data(), *got)) {
      if (c != '\n' && c != '\r') {
        if (line.size() < buffer.size()) line += c;
      } else if (!line.empty()) {
        OnErrorLine(line, &kept);
        line.clear();
      }
    }
  }
  if (!line.empty()) OnErrorLine(line, &kept);
  return kept;
}

// Of the progress a line a second is told.
void Git::OnErrorLine(std::string_view line, std::string* kept) {
  if (!IsProgress(line)) {
    if (kept->size() < kKeptErrorBytes) kept->append(line).append("\n");
    return;
  }
  // What the server does before it sends anything is no news.
  const auto now = std::chrono::steady_clock::now();
  if (line.starts_with("remote: ") || now - last_told_ < kProgressInterval) return;
  last_told_ = now;
  settings_.progress(std::string(absl::StripAsciiWhitespace(base::ToAbsl(line))));
}

}  // namespace dstack::runner
