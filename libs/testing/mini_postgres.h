#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <absl/status/status.h>

#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "services/server/database/postgres_cluster.h"

namespace dstack::testing {

// A PostgreSQL server of this test process, without durability, started by the first test that
// needs it and gone with the process. A machine without PostgreSQL ends the process with a message.
// Thread-safe.
class MiniPostgres {
 public:
  static MiniPostgres& Get();

  // Connection string of a fresh database. Those with the same `schema` name are copies of one
  // database that `prepare` (given its connection string) filled once; "" and nullptr: empty.
  std::string NewDatabase(const std::string& schema = "",
                          const std::function<absl::Status(const std::string&)>& prepare = {});

  // kill -9 of the whole server, and a new one on the same data.
  void Crash();
  void Restart();

 private:
  MiniPostgres();

  void Start();
  void CreateDatabase(const std::string& name, const std::string& schema);

  std::recursive_mutex mutex_;
  TempDir directory_;
  std::unique_ptr<server::PostgresCluster> cluster_;
  std::unique_ptr<process::Subprocess> server_;
  std::map<std::string, std::string> templates_;  // schema → database
  int last_number_ = 0;
};

}  // namespace dstack::testing
