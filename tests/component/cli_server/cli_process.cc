#include "tests/component/cli_server/cli_process.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/testing/await.h"
#include "libs/testing/paths.h"

namespace dstack::cli {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> Argv(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv{testing::Binary("dstack")};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

CliUser::CliUser(const FakeServer& server) : server_(server) {}

std::vector<std::string> CliUser::Env() const {
  return {"HOME=" + home_.path(),
          "PATH=/usr/bin:/bin",
          "TERM=xterm",
          "NO_COLOR=1",
          fmt::format("DSTACK_SERVER_URL={}", server_.url()),
          fmt::format("DSTACK_TOKEN={}", FakeServer::kToken),
          fmt::format("DSTACK_PROJECT={}", FakeServer::kProject)};
}

process::RunResult CliUser::Run(const std::vector<std::string>& arguments,
                                const std::string& input) const {
  process::Options options;
  options.env = Env();
  options.cwd = home_.path();
  options.stdin_data = input;
  options.output_limit_bytes = 64 << 20;
  const auto result = process::Run(Argv(arguments), 30s, options);
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  return *result;
}

process::Subprocess CliUser::Start(const std::vector<std::string>& arguments) const {
  process::Options options;
  options.env = Env();
  options.cwd = home_.path();
  options.stdout_mode = process::Output::kCapture;
  options.stderr_mode = process::Output::kCapture;
  options.output_limit_bytes = 64 << 20;
  auto child = process::Subprocess::Start(Argv(arguments), options);
  REQUIRE(child.ok());
  return *std::move(child);
}

std::string CliUser::WriteFile(const std::string& name, const std::string& text) const {
  const std::string path = home_.Path(name);
  REQUIRE(base::MakeDirs(path.substr(0, path.rfind('/'))).ok());
  REQUIRE(base::WriteFileAtomic(path, text).ok());
  return path;
}

CliOnTerminal::CliOnTerminal(const CliUser& user, const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = Argv(arguments);
  std::vector<std::string> env = user.Env();
  const std::vector<char*> argv_pointers = Pointers(argv);
  const std::vector<char*> env_pointers = Pointers(env);
  const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  pid_ = forkpty(&terminal, nullptr, nullptr, &size);
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    // The test process has threads of gRPC: nothing but these two calls is safe here.
    if (chdir(user.home().c_str()) != 0) _exit(126);
    execve(argv_pointers[0], argv_pointers.data(), env_pointers.data());
    _exit(127);
  }
  terminal_.reset(terminal);
  fcntl(terminal, F_SETFL, O_NONBLOCK);
}

CliOnTerminal::~CliOnTerminal() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void CliOnTerminal::Type(const std::string& keys) {
  REQUIRE(write(terminal_.get(), keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
}

void CliOnTerminal::ReadAvailable() {
  char buffer[4096];
  while (true) {
    const ssize_t count = read(terminal_.get(), buffer, sizeof(buffer));
    if (count <= 0) return;
    screen_.append(buffer, static_cast<size_t>(count));
  }
}

void CliOnTerminal::AwaitText(const std::string& text) {
  testing::Await(
      20s,
      [&] {
        ReadAvailable();
        return screen_.find(text) != std::string::npos;
      },
      [&] { return "no \"" + text + "\" on:\n" + screen_; });
}

int CliOnTerminal::AwaitExit() {
  int status = 0;
  testing::Await(
      20s,
      [&] {
        ReadAvailable();
        return waitpid(pid_, &status, WNOHANG) == pid_;
      },
      [&] { return "still running:\n" + screen_; });
  pid_ = -1;
  ReadAvailable();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace dstack::cli
