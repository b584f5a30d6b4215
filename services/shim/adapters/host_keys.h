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
  // Replaces the task's wish. After an error, for example of a full disk, the file is as it was.
  absl::Status Set(const std::string& task_id, KeyWish wish);
  // After an error the keys are still there; Retry() removes them.
  absl::Status Remove(const std::string& task_id);
  // Writes the files that could not be written before.
  absl::Status Retry();

 private:
  // Notes whether the file is behind.
  absl::Status Write(const std::string& account) REQUIRES(mutex_);
  absl::Status WriteNow(const std::string& account) const REQUIRES(mutex_);
  absl::Status Remember(const std::string& account) REQUIRES(mutex_);

  const HostKeysSettings settings_;
  // Held over the writing of files, which orders them; nobody waits for it but other starts.
  base::Mutex mutex_;
  std::map<std::string, KeyWish> wishes_ GUARDED_BY(mutex_);  // by task id
  std::set<std::string> accounts_ GUARDED_BY(mutex_);
  // Accounts whose files are not as the wishes want them.
  std::set<std::string> behind_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
