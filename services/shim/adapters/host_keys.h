#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <absl/status/status.h>

#include "libs/base/mutex.h"
#include "services/shim/adapters/key_files.h"

namespace dstack::shim {

struct HostKeysSettings {
  std::string owner;       // the shim's id, marks its lines
  std::string state_file;  // accounts that have had keys, for after a crash
  std::string passwd_file = "/etc/passwd";
};

// What one task wants of an account.
struct KeyWish {
  std::string account;
  std::vector<std::string> keys;
  std::set<std::uint16_t> ports;
};

// Public keys that may pass through this host to the ports of live tasks. What an account's file
// has is computed anew from all wishes at each change, so that a key goes with the last task that
// wants it, and with nothing else. Thread-safe; calls block.
class HostKeys {
 public:
  explicit HostKeys(HostKeysSettings settings) : settings_(std::move(settings)) {}

  // Once, before any other call: the wishes of live tasks. Lines of others go.
  void Restore(std::map<std::string, KeyWish> wishes);

  // The account exists.
  absl::Status Check(const std::string& account) const;
  // Replaces the task's wish.
  absl::Status Set(const std::string& task_id, KeyWish wish);
  absl::Status Remove(const std::string& task_id);

 private:
  absl::Status Write(const std::string& account) REQUIRES(mutex_);
  void Remember(const std::string& account) REQUIRES(mutex_);

  const HostKeysSettings settings_;
  // Held over the writing of files, which orders them; nobody waits for it but other starts.
  base::Mutex mutex_;
  std::map<std::string, KeyWish> wishes_ GUARDED_BY(mutex_);  // by task id
  std::set<std::string> accounts_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
