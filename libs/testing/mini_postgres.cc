#include "libs/testing/mini_postgres.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <pqxx/pqxx>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/paths.h"

namespace dstack::testing {
namespace {

using namespace std::chrono_literals;

const std::vector<std::pair<std::string, std::string>>& Settings() {
  static const std::vector<std::pair<std::string, std::string>> settings = {
      // Survives a kill of the server, not of the machine.
      {"fsync", "off"},
      {"synchronous_commit", "on"},
      {"full_page_writes", "off"},
      {"wal_level", "minimal"},
      {"max_wal_senders", "0"},
      {"shared_buffers", "32MB"},
      {"max_connections", "60"},
      {"autovacuum", "off"},
      {"jit", "off"},
      {"log_min_messages", "fatal"},
  };
  return settings;
}

// Test code: there is nobody to hand the error to.
void MustBeOk(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  fmt::print(stderr, "MiniPostgres: {}: {}\n", what, status.ToString());
  std::exit(3);
}

// Data directory made by initdb once for all test processes of a build: copying it takes a tenth of
// the time. The copies need no lock, the original is never changed.
std::string InitializedData() {
  const std::string directory = BuildDir() + "/test-postgres";
  MustBeOk(base::MakeDirs(directory), "cache directory");
  const base::UniqueFd lock(
      open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  flock(lock.get(), LOCK_EX);
  auto cluster = server::PostgresCluster::At(directory);
  MustBeOk(cluster.status(), "cluster");
  MustBeOk(cluster->EnsureData(), "initdb");
  return cluster->data_directory();
}

}  // namespace

MiniPostgres& MiniPostgres::Get() {
  // Destroyed at the end of the process: the destructor of the server's Subprocess kills it.
  static MiniPostgres instance;
  return instance;
}

MiniPostgres::MiniPostgres() {
  const std::string data = InitializedData();
  MustBeOk(
      process::RunChecked({"cp", "-a", "--reflink=auto", data, directory_.path()}, 60s).status(),
      "copy of the data directory");
  auto cluster = server::PostgresCluster::At(directory_.path());
  MustBeOk(cluster.status(), "cluster");
  cluster_ = std::make_unique<server::PostgresCluster>(*std::move(cluster));
  Start();
}

void MiniPostgres::Start() {
  // A test process that is killed takes its server with it, if the server was started by the main
  // thread, as it nearly always is.
  const bool is_main_thread = gettid() == getpid();
  auto server = cluster_->Start(Settings(), is_main_thread);
  MustBeOk(server.status(), "start");
  server_ = std::make_unique<process::Subprocess>(*std::move(server));
  MustBeOk(
      cluster_->AwaitReady(base::DeadlineIn(30s), [&] { return !server_->Poll().has_value(); }),
      "start");
}

void MiniPostgres::CreateDatabase(const std::string& name, const std::string& schema) {
  pqxx::connection connection(cluster_->Conninfo("postgres"));
  pqxx::nontransaction tx(connection);
  tx.exec(schema.empty()
              ? fmt::format("CREATE DATABASE {} STRATEGY file_copy", name)
              : fmt::format("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, schema));
}

std::string MiniPostgres::NewDatabase(
    const std::string& schema, const std::function<absl::Status(const std::string&)>& prepare) {
  const std::lock_guard lock(mutex_);
  std::string source;
  if (prepare) {
    const auto [entry, is_new] = templates_.try_emplace(schema, "schema_" + schema);
    source = entry->second;
    if (is_new) {
      CreateDatabase(source, "");
      MustBeOk(prepare(cluster_->Conninfo(source)), "schema");
    }
  }
  const std::string name = fmt::format("test_{}", ++last_number_);
  CreateDatabase(name, source);
  return cluster_->Conninfo(name);
}

void MiniPostgres::Crash() {
  const std::lock_guard lock(mutex_);
  MustBeOk(server_->KillGroup(SIGKILL), "kill");
  static_cast<void>(server_->WaitUntil(base::DeadlineIn(10s)));
}

void MiniPostgres::Restart() {
  const std::lock_guard lock(mutex_);
  if (!server_->Poll()) Crash();
  Start();
}

}  // namespace dstack::testing
