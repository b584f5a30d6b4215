#include "services/shim/adapters/host_keys.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {

void HostKeys::Restore(std::map<std::string, KeyWish> wishes) {
  base::MutexLock lock(mutex_);
  wishes_ = std::move(wishes);
  const auto text = base::ReadFile(settings_.state_file);
  const auto list = nlohmann::json::parse(text.value_or("[]"), nullptr, false);
  for (const auto& name : list.is_array() ? list : nlohmann::json::array()) {
    if (name.is_string()) accounts_.insert(name.get<std::string>());
  }
  for (const auto& [task_id, wish] : wishes_) accounts_.insert(wish.account);
  for (const std::string& account : accounts_) {
    if (const absl::Status status = Write(account); !status.ok()) {
      telemetry::Error("keys of an account are not as they should be",
                       {{"account", account}, {"status", status}});
    }
  }
}

absl::Status HostKeys::Check(const std::string& account) const {
  ASSIGN_OR_RETURN(const std::string passwd, base::ReadFile(settings_.passwd_file));
  const auto found = FindAccount(passwd, account);
  return found.ok() ? absl::OkStatus() : base::Annotate(found.status(), "host_ssh_user");
}

absl::Status HostKeys::Set(const std::string& task_id, KeyWish wish) {
  base::MutexLock lock(mutex_);
  const std::string account = wish.account;
  // Before the keys: what a crash leaves is found by this.
  RETURN_IF_ERROR(Remember(account));
  wishes_[task_id] = std::move(wish);
  return Write(account);
}

absl::Status HostKeys::Remove(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  const auto node = wishes_.extract(task_id);
  return node.empty() ? absl::OkStatus() : Write(node.mapped().account);
}

absl::Status HostKeys::Retry() {
  base::MutexLock lock(mutex_);
  absl::Status first;
  for (const std::string& account : std::set<std::string>(behind_)) first.Update(Write(account));
  return first;
}

absl::Status HostKeys::Write(const std::string& account) {
  absl::Status status = WriteNow(account);
  if (status.ok()) {
    behind_.erase(account);
  } else {
    behind_.insert(account);
  }
  return status;
}

absl::Status HostKeys::WriteNow(const std::string& account) const {
  std::vector<JumpKey> keys;
  for (const auto& [task_id, wish] : wishes_) {
    // Before its port is known, a key opens nothing.
    if (wish.account != account || wish.ports.empty()) continue;
    for (const std::string& line : wish.keys) keys.push_back({line, wish.ports});
  }
  ASSIGN_OR_RETURN(const std::string passwd, base::ReadFile(settings_.passwd_file));
  ASSIGN_OR_RETURN(const HostAccount found, FindAccount(passwd, account));
  return WriteJumpKeys(found, keys, settings_.owner);
}

absl::Status HostKeys::Remember(const std::string& account) {
  if (!accounts_.insert(account).second) return absl::OkStatus();
  absl::Status saved =
      base::WriteFileAtomic(settings_.state_file, nlohmann::json(accounts_).dump(), 0600);
  if (!saved.ok()) accounts_.erase(account);
  return saved;
}

}  // namespace dstack::shim
