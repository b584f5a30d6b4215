#include "tests/component/runner_repo/git_fixture.h"

#include <array>
#include <charconv>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/testing/paths.h"

namespace dstack::testing {
namespace {

using namespace std::chrono_literals;

process::Subprocess StartServer(const std::string& root,
                                const std::string& token,
                                const std::string& certificate) {
  std::vector<std::string> argv = {
      "python3", SourceDir() + "/tests/component/runner_repo/git_http_server.py", root, token};
  if (!certificate.empty()) argv.push_back(certificate);
  process::Options options;
  options.stdout_mode = process::Output::kPipe;
  auto started = process::Subprocess::Start(argv, options);
  INFO(started.status());
  REQUIRE(started.ok());
  return *std::move(started);
}

}  // namespace

GitRepository::GitRepository(const std::string& path) : path_(path) {
  REQUIRE(base::MakeDirs(path).ok());
  Git({"init", "--quiet", "-b", "main"});
}

std::string GitRepository::Git(const std::vector<std::string>& args) const {
  std::vector<std::string> argv = {"git",
                                   "-c",
                                   "user.name=Test",
                                   "-c",
                                   "user.email=test@example.com",
                                   "-c",
                                   "protocol.file.allow=always",
                                   "-c",
                                   "safe.directory=*"};
  argv.insert(argv.end(), args.begin(), args.end());
  process::Options options;
  options.cwd = path_;
  const auto result = process::Run(argv, 30s, options);
  REQUIRE(result.ok());
  INFO(result->stderr_text);
  REQUIRE(result->exit.ok());
  std::string text = result->stdout_text;
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void GitRepository::Write(const std::string& name,
                          const std::string& content,
                          unsigned mode) const {
  const std::string file = base::JoinPath(path_, name);
  REQUIRE(base::MakeDirs(file.substr(0, file.rfind('/'))).ok());
  REQUIRE(base::WriteFileAtomic(file, content, mode).ok());
}

std::string GitRepository::Commit(const std::string& message) const {
  Git({"add", "--all"});
  Git({"commit", "--quiet", "--allow-empty", "-m", message});
  return Git({"rev-parse", "HEAD"});
}

std::string GitRepository::Diff() const {
  Git({"add", "--all"});
  return Git({"diff", "--cached", "--binary", "HEAD"}) + "\n";
}

std::string GitRepository::SshUrl(const std::string& user, std::uint16_t port) const {
  return fmt::format("ssh://{}@127.0.0.1:{}{}", user, port, path_);
}

GitHttpServer::GitHttpServer(const std::string& root,
                             const std::string& token,
                             const std::string& certificate)
    : has_tls_(!certificate.empty()), process_(StartServer(root, token, certificate)) {
  const base::UniqueFd out = process_.TakeStdout();
  std::string line;
  std::array<char, 64> buffer;
  while (!line.ends_with('\n')) {
    const auto got = base::ReadSome(out.get(), buffer.data(), buffer.size());
    REQUIRE(got.ok());
    REQUIRE(*got > 0);
    line.append(buffer.data(), *got);
  }
  std::from_chars(line.data(), line.data() + line.size(), port_);
  REQUIRE(port_ > 0);
}

std::string GitHttpServer::Url(const std::string& name) const {
  return fmt::format("{}://127.0.0.1:{}/{}", has_tls_ ? "https" : "http", port_, name);
}

}  // namespace dstack::testing
