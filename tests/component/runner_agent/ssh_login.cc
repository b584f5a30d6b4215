#include "tests/component/runner_agent/ssh_login.h"

#include <chrono>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/testing/paths.h"

namespace dstack::runner {

using namespace std::chrono_literals;

std::string SshBundle() { return testing::BuildDir() + "/share/dstack/ssh-bundle"; }

std::string MakeSshKey(const std::string& dir) {
  const std::string key = dir + "/id";
  const auto made = process::RunChecked(
      {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key}, 20s);
  INFO(made.status());
  REQUIRE(made.ok());
  return key;
}

std::string TrustHostKey(const std::string& dir, std::uint32_t port, const std::string& key) {
  const std::string path = dir + "/known_hosts";
  REQUIRE(base::WriteFileAtomic(path, fmt::format("[127.0.0.1]:{} {}\n", port, key)).ok());
  return path;
}

std::vector<std::string> SshOptions(const std::string& identity,
                                    std::uint32_t port,
                                    const std::string& known_hosts) {
  const bool is_strict = !known_hosts.empty();
  return {"-F",
          "none",
          "-i",
          identity,
          "-o",
          fmt::format("Port={}", port),
          "-o",
          "BatchMode=yes",
          "-o",
          fmt::format("StrictHostKeyChecking={}", is_strict ? "yes" : "no"),
          "-o",
          fmt::format("UserKnownHostsFile={}", is_strict ? known_hosts : "/dev/null"),
          "-o",
          "LogLevel=ERROR"};
}

process::RunResult RunTool(const std::vector<std::string>& argv, const std::string& input) {
  process::Options options;
  options.stdin_data = input;
  auto result = process::Run(argv, 30s, options);
  INFO(result.status());
  REQUIRE(result.ok());
  return *std::move(result);
}

process::RunResult SshInto(const std::vector<std::string>& options,
                           const std::vector<std::string>& command,
                           const std::string& user) {
  std::vector<std::string> argv = {"ssh"};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.push_back(user + "@127.0.0.1");
  argv.insert(argv.end(), command.begin(), command.end());
  return RunTool(argv);
}

}  // namespace dstack::runner
