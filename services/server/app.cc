#include "services/server/app.h"

#include <optional>
#include <utility>

#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/migrator.h"
#include "libs/telemetry/log.h"
#include "services/server/agents/agent_bundle.h"
#include "services/server/control_plane.h"
#include "services/server/database/private_postgres.h"
#include "services/server/home.h"
#include "services/server/host_side.h"
#include "services/server/local_host/local_host.h"
#include "services/server/store/migrations.h"

namespace dstack::server {
namespace {

constexpr const char* kLocalHostProject = "main";

// The database that the options name, or a private one that is started and kept in `postgres`.
absl::StatusOr<std::string> DatabaseOf(const Options& options,
                                       const Home& home,
                                       std::unique_ptr<PrivatePostgres>* postgres) {
  if (!options.database_url.empty()) return options.database_url;
  ASSIGN_OR_RETURN(*postgres, PrivatePostgres::Start(base::JoinPath(home.path(), "postgres")));
  return (*postgres)->conninfo();
}

ControlPlane::Settings PlaneSettings(const Options& options,
                                     const std::string& conninfo,
                                     const base::Secret& master_key,
                                     const base::Secret& admin_token,
                                     const std::string& replica_id) {
  ControlPlane::Settings settings;
  settings.conninfo = conninfo;
  settings.master_key = master_key;
  settings.admin_token = admin_token;
  settings.replica_id = replica_id;
  settings.retention = options.retention;
  settings.host = options.host;
  settings.port = options.port;
  settings.is_plaintext_allowed = options.is_plaintext_allowed;
  settings.tls_certificate_file = options.tls_certificate_file;
  settings.tls_key_file = options.tls_key_file;
  return settings;
}

// A server that was killed has left its lease behind: its successor in the same directory need not
// wait for the end of it.
absl::Status RetirePredecessor(const Home& home,
                               ControlPlane& plane,
                               const std::string& replica_id) {
  ASSIGN_OR_RETURN(const std::string previous, home.ReplaceReplicaId(replica_id));
  if (previous.empty()) return absl::OkStatus();
  return plane.stores().instances.Retire(previous);
}

absl::Status RegisterLocalHost(LocalHost& local_host, ControlPlane& plane) {
  base::UuidSource ids;
  return local_host.Register(
      plane.stores().fleets, plane.stores().identities, kLocalHostProject, ids, plane.clock());
}

}  // namespace

// In the order of their start; ends in reverse.
struct App::Parts {
  std::optional<Home> home;
  Home::AdminToken admin_token;
  std::unique_ptr<PrivatePostgres> postgres;
  std::unique_ptr<ControlPlane> plane;
  std::unique_ptr<LocalHost> local_host;
  std::unique_ptr<HostSide> hosts;
  std::string url;
};

absl::StatusOr<std::unique_ptr<App>> App::Start(const Options& options) {
  auto parts = std::make_unique<Parts>();
  ASSIGN_OR_RETURN(const AgentBundle::Paths agents, AgentBundle::Find(options.agents_dir));
  ASSIGN_OR_RETURN(parts->home, Home::Open(options.home));
  ASSIGN_OR_RETURN(const base::Secret master_key, parts->home->MasterKey(options.encryption_key));
  ASSIGN_OR_RETURN(parts->admin_token, parts->home->GetAdminToken(options.admin_token));
  ASSIGN_OR_RETURN(const std::string database, DatabaseOf(options, *parts->home, &parts->postgres));
  const std::string replica_id = base::NewUuid();
  ASSIGN_OR_RETURN(parts->plane,
                   ControlPlane::Start(PlaneSettings(
                       options, database, master_key, parts->admin_token.token, replica_id)));
  parts->url = parts->plane->url();
  RETURN_IF_ERROR(RetirePredecessor(*parts->home, *parts->plane, replica_id));
  std::optional<LocalHostAccess> access;
  if (options.has_local_host) {
    ASSIGN_OR_RETURN(parts->local_host,
                     LocalHost::Start(base::JoinPath(parts->home->path(), "host")));
    access = parts->local_host->access();
  }
  ASSIGN_OR_RETURN(parts->hosts,
                   HostSide::Start(*parts->plane,
                                   {.replica_id = replica_id,
                                    .master_key = master_key,
                                    .agents = agents,
                                    .base_image = options.base_image,
                                    .docker_image = options.docker_image,
                                    .host_lost_after = options.host_lost_after,
                                    .local_host = access}));
  if (parts->local_host) RETURN_IF_ERROR(RegisterLocalHost(*parts->local_host, *parts->plane));
  parts->plane->SetReady();
  telemetry::Info("ready",
                  {{"address", parts->plane->address()},
                   {"home", options.home},
                   {"server_id", parts->plane->server_id()},
                   {"replica_id", replica_id}});
  return std::unique_ptr<App>(new App(std::move(parts)));
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() { Stop(std::chrono::milliseconds(0)); }

void App::Stop(std::chrono::milliseconds grace) {
  if (parts_->plane) parts_->plane->StopServing(grace);
  parts_->hosts.reset();
  parts_->local_host.reset();
  parts_->plane.reset();
  parts_->postgres.reset();
}

const std::string& App::url() const { return parts_->url; }
const base::Secret& App::admin_token() const { return parts_->admin_token.token; }
bool App::has_new_token() const { return parts_->admin_token.is_new; }

absl::Status MigrateDatabase(const Options& options) {
  std::optional<Home> home;
  std::unique_ptr<PrivatePostgres> postgres;
  if (options.database_url.empty()) {
    ASSIGN_OR_RETURN(home, Home::Open(options.home));
    ASSIGN_OR_RETURN(postgres, PrivatePostgres::Start(base::JoinPath(home->path(), "postgres")));
  }
  const std::string database = postgres ? postgres->conninfo() : options.database_url;
  ASSIGN_OR_RETURN(const int steps, db::Migrate(database, Migrations()));
  telemetry::Info("database is up to date", {{"steps", steps}});
  return absl::OkStatus();
}

}  // namespace dstack::server
