#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/mutex.h"

namespace dstack::server {

// One file that is copied to hosts.
struct AgentFile {
  std::string name;     // "dstack-shim"
  std::string digest;   // SHA-256 in hexadecimal digits
  std::string content;  // as it is on the host
  // Name on the host: <name>-<first 12 digits of the digest>.
  std::string VersionedName() const;
};

// What the server puts on hosts: shim, runner and, if there is one, the relocatable OpenSSH (as a
// tar archive). Loaded when a host wants it, shared by all that install at the time, and given up
// afterwards: tens of megabytes that an idle server has no use for. Thread-safe.
class AgentBundle {
 public:
  struct Paths {
    std::string shim;
    std::string runner;
    std::string ssh_bundle;  // directory; empty: none
  };
  struct Files {
    AgentFile shim;
    AgentFile runner;
    std::optional<AgentFile> ssh;
  };

  explicit AgentBundle(Paths paths) : paths_(std::move(paths)) {}

  // In `agents_dir` if that is given, otherwise beside this program: agents in its own directory,
  // the OpenSSH bundle under
  // ../share/dstack/ssh-bundle. NOT_FOUND names what is missing and the flag.
  static absl::StatusOr<Paths> Find(const std::string& agents_dir);

  absl::StatusOr<std::shared_ptr<const Files>> Get();

 private:
  const Paths paths_;
  base::Mutex mutex_;
  std::weak_ptr<const Files> files_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
