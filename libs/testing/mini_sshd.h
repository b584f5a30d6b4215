#pragma once

#include <string>
#include <vector>

#include "libs/base/secret.h"
#include "libs/ssh/keys.h"
#include "libs/ssh/private_sshd.h"
#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// A real sshd on loopback with a key pair that it lets in. Tests cut it in all the ways a network
// and a host can fail. A machine without sshd fails the test case.
class MiniSshd {
 public:
  // `environment` are NAME=value words for its sessions, separated by blanks.
  explicit MiniSshd(const std::string& environment = "");
  ~MiniSshd();
  MiniSshd(const MiniSshd&) = delete;
  MiniSshd& operator=(const MiniSshd&) = delete;

  std::uint16_t port() const { return sshd_.port(); }
  const std::string& user() const { return sshd_.user(); }
  const std::string& host_key() const { return sshd_.host_key(); }
  const base::Secret& private_key() const { return key_.private_key; }
  const std::string& public_key() const { return key_.public_key; }
  // HOME of its sessions.
  std::string home() const { return dir_.Path("home"); }

  // Ends listener and connections; Start() brings it back on the same port.
  void Kill();
  void Start();
  // Ends the connections only: the next one succeeds.
  void CutConnections();
  // Nobody answers, nothing is closed: a black hole. Resume() ends it.
  void Pause();
  void Resume();
  // Kill(), a new host key, Start().
  void ReplaceHostKey();

 private:
  std::vector<pid_t> All() const;

  TempDir dir_;
  ssh::KeyPair key_;
  ssh::PrivateSshd sshd_;
};

}  // namespace dstack::testing
