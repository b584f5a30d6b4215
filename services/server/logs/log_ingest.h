#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/server/ports/log_store.h"

namespace dstack::server {

// Makes the logs of all jobs of this replica durable: collects what arrives while the last commit
// runs and writes it in one transaction. Batches of one job keep their order. While the database is
// away everything waits, and callers stop reading from the hosts, so that memory is bounded.
// Thread-safe.
class LogIngest {
 public:
  struct Options {
    // Writers; a job always has the same one.
    std::size_t writers = 2;
    // Most bytes in one transaction.
    std::size_t commit_bytes = 4 << 20;
    // HasRoom() is false above this.
    std::size_t pending_bytes = 64 << 20;
  };
  // Last stored sequence of the source. An error that no repetition mends (a hole in the sequence)
  // leaves the store as it was.
  using Done = std::function<void(absl::StatusOr<std::uint64_t> last_sequence)>;
  // Called after each commit, before the Done functions, for every batch in it. Must return soon.
  using Observer = std::function<void(const LogStore::Append& append)>;

  // `store` outlives the object.
  LogIngest(LogStore& store, Observer observer, Options options);
  // Gives up what is not durable yet: its Done functions get CANCELLED.
  ~LogIngest();
  LogIngest(const LogIngest&) = delete;
  LogIngest& operator=(const LogIngest&) = delete;

  // Never blocks. `done` runs on a writer's thread and must return at once.
  void Append(LogStore::Append append, Done done);

  // A caller that has something pending waits for its Done before it reads on while this is false.
  bool HasRoom() const;
  // Bytes that are not durable yet.
  std::size_t pending_bytes() const;

 private:
  class Writer;
  const Options options_;
  std::vector<std::unique_ptr<Writer>> writers_;
};

}  // namespace dstack::server
