#include "libs/testing/mini_sshd.h"

#include <catch2/catch.hpp>
#include <signal.h>

#include "libs/base/file.h"
#include "libs/process/reaper.h"

namespace dstack::testing {

MiniSshd::MiniSshd(const std::string& environment)
    : sshd_(dir_.Path("sshd"), "SetEnv HOME=" + dir_.Path("home") + " " + environment + "\n") {
  REQUIRE(base::MakeDirs(home(), 0700).ok());
  auto key = ssh::GenerateKeyPair("test");
  REQUIRE(key.ok());
  key_ = *std::move(key);
  Start();
}

MiniSshd::~MiniSshd() {
  Resume();
  static_cast<void>(sshd_.Stop());
}

std::vector<pid_t> MiniSshd::All() const {
  if (sshd_.pid() == 0) return {};
  std::vector<pid_t> all = process::DescendantsOf(sshd_.pid());
  all.push_back(sshd_.pid());
  return all;
}

void MiniSshd::Kill() {
  Resume();
  REQUIRE(sshd_.Stop().ok());
}

void MiniSshd::Start() {
  const absl::Status started = sshd_.EnsureRunning({key_.public_key});
  INFO(started.ToString());
  REQUIRE(started.ok());
}

void MiniSshd::CutConnections() {
  for (const pid_t pid : process::DescendantsOf(sshd_.pid())) kill(pid, SIGKILL);
}

void MiniSshd::Pause() {
  for (const pid_t pid : All()) kill(pid, SIGSTOP);
}

void MiniSshd::Resume() {
  for (const pid_t pid : All()) kill(pid, SIGCONT);
}

void MiniSshd::ReplaceHostKey() {
  Kill();
  REQUIRE(base::RemoveAll(dir_.Path("sshd/host_key")).ok());
  Start();
}

}  // namespace dstack::testing
