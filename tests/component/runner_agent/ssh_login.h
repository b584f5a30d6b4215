#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/process/subprocess.h"

namespace dstack::runner {

// The bundle of OpenSSH and git that this build made.
std::string SshBundle();

// Makes the key pair `dir`/id and `dir`/id.pub; returns the path of the private key.
std::string MakeSshKey(const std::string& dir);

// Writes `dir`/known_hosts, which trusts this key of a job's sshd alone; returns its path.
std::string TrustHostKey(const std::string& dir, std::uint32_t port, const std::string& key);

// Options of ssh, sftp and scp for a job's sshd; this machine's configuration does not count.
// `known_hosts`: file with the only key that is trusted; empty: any.
std::vector<std::string> SshOptions(const std::string& identity,
                                    std::uint32_t port,
                                    const std::string& known_hosts = "");

// Runs a program to its end; fails the test only when it cannot be run.
process::RunResult RunTool(const std::vector<std::string>& argv, const std::string& input = "");

// Runs a command in the job by the real ssh; `options` are SshOptions.
process::RunResult SshInto(const std::vector<std::string>& options,
                           const std::vector<std::string>& command,
                           const std::string& user = "root");

}  // namespace dstack::runner
