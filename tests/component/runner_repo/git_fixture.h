#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// A repository on this machine made with the real git.
class GitRepository {
 public:
  explicit GitRepository(const std::string& path);

  // Runs git in it and returns what it prints, without the last line end. Fails the test.
  std::string Git(const std::vector<std::string>& args) const;
  void Write(const std::string& name, const std::string& content, unsigned mode = 0644) const;
  // Commits everything; returns the commit.
  std::string Commit(const std::string& message) const;
  std::string Diff() const;
  // As the sshd on this port of loopback serves it.
  std::string SshUrl(const std::string& user, std::uint16_t port) const;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// Serves the repositories below a directory by HTTP, on loopback.
class GitHttpServer {
 public:
  // With a token every request must carry it. With a certificate (PEM with its key) it is https.
  explicit GitHttpServer(const std::string& root,
                         const std::string& token = "",
                         const std::string& certificate = "");

  std::string Url(const std::string& name) const;

 private:
  const bool has_tls_;
  process::Subprocess process_;
  std::uint16_t port_ = 0;
};

}  // namespace dstack::testing
