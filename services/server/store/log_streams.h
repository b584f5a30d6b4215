#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/status.h"
#include "services/server/ports/log_store.h"

namespace dstack::server {

// The streams that one call of AppendAll goes to, locked: works out what is new, writes segments
// and positions. Lives inside one transaction.
class LogStreams {
 public:
  explicit LogStreams(pqxx::work& tx) : tx_(tx) {}

  // Locks the streams in a fixed order and makes those that do not exist.
  // NOT_FOUND/JOB_NOT_FOUND names a job that does not exist.
  absl::Status Lock(const std::vector<LogStore::Append>& appends);

  // Writes the records above the stored position.
  absl::Status Append(const LogStore::Append& append);

  // Stores the positions and notifies the followers.
  void Finish();

  std::uint64_t LastSequence(const LogStore::Append& append) const;

 private:
  using Key = std::pair<std::string, int>;  // job, source
  struct Stream {
    std::uint64_t last_sequence = 0;
    bool is_ended = false;
    // The newest segment and its size.
    std::uint64_t tail_sequence = 0;
    std::size_t tail_bytes = 0;
    bool is_changed = false;
  };

  static Key KeyOf(const LogStore::Append& append);
  // Locks what exists of `keys`.
  void LockExisting(const std::vector<Key>& keys);
  void Create(const std::vector<Key>& keys);
  void WriteBatch(const Key& key, Stream& stream, const common::v1::LogBatch& batch);

  pqxx::work& tx_;
  std::map<Key, Stream> streams_;
};

}  // namespace dstack::server
