#include "services/server/control_plane.h"

#include <atomic>
#include <optional>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/base/uuid.h"
#include "libs/db/migrator.h"
#include "libs/db/pool.h"
#include "libs/exec/thread_pool.h"
#include "libs/rpc/gate.h"
#include "libs/rpc/server.h"
#include "libs/ssh/keys.h"
#include "libs/telemetry/log.h"
#include "services/server/agents/job_keys.h"
#include "services/server/api/file_service.h"
#include "services/server/api/fleet_service.h"
#include "services/server/api/instance_service.h"
#include "services/server/api/log_service.h"
#include "services/server/api/metrics_service.h"
#include "services/server/api/open_streams.h"
#include "services/server/api/project_service.h"
#include "services/server/api/run_service.h"
#include "services/server/api/server_service.h"
#include "services/server/api/token_authenticator.h"
#include "services/server/api/user_service.h"
#include "services/server/api/watch_hub.h"
#include "services/server/host_side.h"
#include "services/server/logs/log_hub.h"
#include "services/server/reconcile/housekeeper.h"
#include "services/server/reconcile/run_reconciler.h"
#include "services/server/reconcile/scheduler.h"
#include "services/server/reconcile/wake_loop.h"
#include "services/server/store/migrations.h"
#include "services/server/store/postgres_notifications.h"
#include "services/server/store/secret_box.h"
#include "services/server/usecases/access.h"

namespace dstack::server {
namespace {

constexpr std::size_t kStreamThreads = 4;
constexpr int kMaxRequestBytes = 8 << 20;
// Between looks at the database's health, and between wake-ups of streams that may have missed
// something.
constexpr std::chrono::seconds kHealthInterval{2};
constexpr int kHealthTurnsPerSweep = 5;
// Points of all hosts that came since go into one statement.
constexpr std::chrono::seconds kUsageInterval{5};

absl::StatusOr<SshKeyPair> MakeKey(const std::string& comment) {
  ASSIGN_OR_RETURN(ssh::KeyPair pair, ssh::GenerateKeyPair(comment));
  return SshKeyPair{std::move(pair.public_key), std::move(pair.private_key)};
}

HostKeyOf HostKeys(const base::Secret& master_key) {
  return [key = RunnerTokenKey(master_key)](const JobId& job) {
    const auto pair = JobHostKey(key, job);
    return pair.ok() ? pair->public_key : std::string();
  };
}

absl::Status ShuttingDown() {
  return base::WithRetryAfter(
      base::Error(
          absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is stopping; connect again"),
      std::chrono::milliseconds(500));
}

// What the API consists of. Order of construction, because later members refer to earlier ones.
struct Api {
  Api(Stores& stores,
      Notifications& notifications,
      telemetry::Metrics& metrics,
      const base::Clock& clock,
      base::IdSource& ids,
      HostKeyOf host_key_of,
      const ServerService::Facts& facts)
      : authenticator(stores.identities, clock),
        gate(authenticator, metrics),
        access(stores.identities),
        run_use_cases(stores.runs,
                      stores.instances,
                      stores.fleets,
                      stores.files,
                      stores.identities,
                      clock,
                      ids),
        fleet_use_cases(stores.fleets, clock, ids),
        instance_use_cases(stores.instances, clock),
        identity_use_cases(stores.identities, MakeKey),
        pool("streams", kStreamThreads),
        log_hub(notifications),
        watch_hub(stores.runs, notifications, pool),
        runs({gate, open_streams, pool},
             access,
             run_use_cases,
             stores.runs,
             watch_hub,
             clock,
             std::move(host_key_of)),
        logs({gate, open_streams, pool},
             {log_hub, stores.logs, stores.jobs, pool},
             access,
             stores.runs),
        fleets(gate, access, fleet_use_cases, stores.fleets),
        instances(gate, access, instance_use_cases, stores.instances),
        projects(gate, access, identity_use_cases, stores.identities),
        users(gate, identity_use_cases, stores.identities),
        files(gate, stores.files, pool),
        usage(gate, access, instance_use_cases, stores.runs, stores.usage),
        server(gate, clock, facts) {}

  std::vector<grpc::Service*> services() {
    return {&runs, &logs, &fleets, &instances, &projects, &users, &files, &usage, &server};
  }
  static std::vector<std::string> names() {
    return {api::v1::RunService::service_full_name(),
            api::v1::LogService::service_full_name(),
            api::v1::FleetService::service_full_name(),
            api::v1::InstanceService::service_full_name(),
            api::v1::ProjectService::service_full_name(),
            api::v1::UserService::service_full_name(),
            api::v1::FileService::service_full_name(),
            api::v1::MetricsService::service_full_name(),
            api::v1::ServerService::service_full_name()};
  }

  TokenAuthenticator authenticator;
  rpc::Gate gate;
  Access access;
  RunUseCases run_use_cases;
  FleetUseCases fleet_use_cases;
  InstanceUseCases instance_use_cases;
  IdentityUseCases identity_use_cases;
  OpenStreams open_streams;
  exec::ThreadPool pool;
  LogHub log_hub;
  WatchHub watch_hub;
  RunService runs;
  LogService logs;
  FleetService fleets;
  InstanceService instances;
  ProjectService projects;
  UserService users;
  FileService files;
  MetricsService usage;
  ServerService server;
};

}  // namespace

struct ControlPlane::Parts {
  Parts(Settings settings_in, SecretBox box_in)
      : settings(std::move(settings_in)),
        box(std::move(box_in)),
        pool({.conninfo = settings.conninfo, .max_connections = settings.database_connections}),
        stores({.pool = pool, .box = box, .clock = clock, .ids = ids}),
        notifications(settings.conninfo),
        usage(stores.usage) {}

  absl::Status Start();
  void Stop(std::chrono::milliseconds grace);
  rpc::HttpResponse AnswerHttp(const rpc::HttpRequest& request);
  bool LookAtHealth();
  void UpdateGauges();

  const Settings settings;
  const base::RealClock clock;
  base::UuidSource ids;
  const SecretBox box;
  db::Pool pool;
  Stores stores;
  PostgresNotifications notifications;
  telemetry::Metrics metrics;
  UsageRecorder usage;
  std::string server_id;
  std::unique_ptr<Api> api;
  std::unique_ptr<LogIngest> ingest;
  std::unique_ptr<RunReconciler> run_reconciler;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<rpc::Server> server;
  std::unique_ptr<WakeLoop> health_loop;
  std::unique_ptr<WakeLoop> usage_loop;
  std::unique_ptr<Housekeeper> housekeeper;
  std::atomic<bool> is_ready{false};
  std::atomic<bool> is_database_up{true};
  int health_turns = 0;  // of the health loop alone
};

absl::Status ControlPlane::Parts::Start() {
  ASSIGN_OR_RETURN(server_id, stores.identities.ServerId());
  api = std::make_unique<Api>(stores,
                              notifications,
                              metrics,
                              clock,
                              ids,
                              HostKeys(settings.master_key),
                              ServerService::Facts{.server_id = server_id,
                                                   .replica_id = settings.replica_id,
                                                   .max_file_bytes = FileService::kMaxFileBytes,
                                                   .max_request_bytes = kMaxRequestBytes});
  RETURN_IF_ERROR(api->identity_use_cases.Bootstrap(settings.admin_token));
  ingest = std::make_unique<LogIngest>(
      stores.logs,
      [hub = &api->log_hub](const LogStore::Append& append) {
        hub->Publish(append.job_id, append.batch, append.is_end);
      },
      LogIngest::Options());
  run_reconciler = std::make_unique<RunReconciler>(stores.runs, notifications, clock);
  scheduler = std::make_unique<Scheduler>(stores.jobs, notifications, clock);
  rpc::ServerOptions options;
  options.host = settings.host;
  options.port = settings.port;
  options.is_plaintext_allowed = settings.is_plaintext_allowed;
  options.tls_certificate_file = settings.tls_certificate_file;
  options.tls_key_file = settings.tls_key_file;
  options.max_threads = settings.max_threads;
  options.max_receive_bytes = kMaxRequestBytes;
  options.services = api->services();
  options.service_names = Api::names();
  options.http = [this](const rpc::HttpRequest& request) { return AnswerHttp(request); };
  ASSIGN_OR_RETURN(server, rpc::Server::Start(options));
  health_loop =
      std::make_unique<WakeLoop>("health", kHealthInterval, [this] { return LookAtHealth(); });
  usage_loop =
      std::make_unique<WakeLoop>("usage", kUsageInterval, [this] { return usage.Flush(); });
  housekeeper = std::make_unique<Housekeeper>(stores.retention, settings.retention, clock);
  return absl::OkStatus();
}

void ControlPlane::Parts::Stop(std::chrono::milliseconds grace) {
  is_ready = false;
  health_loop.reset();
  usage_loop.reset();
  housekeeper.reset();
  if (api) api->open_streams.EndAll(ShuttingDown());
  if (server) server->Shutdown(grace);
  scheduler.reset();
  run_reconciler.reset();
}

rpc::HttpResponse ControlPlane::Parts::AnswerHttp(const rpc::HttpRequest& request) {
  if (request.path == "/healthz") {
    const bool is_serving = is_ready && is_database_up;
    return {is_serving ? 200 : 503,
            "application/json",
            is_serving ? "{\"status\":\"running\"}\n" : "{\"status\":\"not ready\"}\n"};
  }
  if (request.path == "/metrics")
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics.Render()};
  return {404,
          "text/plain; charset=utf-8",
          "This port speaks gRPC. Over HTTP there are /healthz and /metrics.\n"};
}

// Health follows the database; the notifications' safety net runs along.
bool ControlPlane::Parts::LookAtHealth() {
  const absl::Status status = stores.identities.ServerId().status();
  is_database_up = status.ok();
  const bool is_serving = is_ready && status.ok();
  if (server->IsServing() != is_serving) {
    if (is_ready && !status.ok())
      telemetry::Warn("the database does not answer", {{"error", status}});
    server->SetServing(is_serving);
  }
  UpdateGauges();
  if (++health_turns % kHealthTurnsPerSweep == 0) {
    api->log_hub.WakeAll();
    api->watch_hub.LookAgain();
  }
  return false;
}

void ControlPlane::Parts::UpdateGauges() {
  const auto set = [this](const char* name, const char* help, std::size_t value) {
    metrics.Gauge(name, help).Set(static_cast<double>(value));
  };
  set("dstack_server_open_streams", "Server streams that are open", api->open_streams.size());
  set("dstack_server_stream_tasks_waiting",
      "Work of streams that waits for a thread",
      api->pool.queued());
  set("dstack_server_log_memory_bytes",
      "Recent log records kept for followers",
      api->log_hub.bytes());
  set("dstack_server_log_pending_bytes",
      "Log records that are not durable yet",
      ingest->pending_bytes());
}

absl::StatusOr<std::unique_ptr<ControlPlane>> ControlPlane::Start(const Settings& settings) {
  ASSIGN_OR_RETURN(SecretBox box, SecretBox::Create(settings.master_key));
  ASSIGN_OR_RETURN(const int steps, db::Migrate(settings.conninfo, Migrations()));
  if (steps > 0) telemetry::Info("database migrated", {{"steps", steps}});
  auto plane = std::unique_ptr<ControlPlane>(
      new ControlPlane(std::make_unique<Parts>(settings, std::move(box))));
  RETURN_IF_ERROR(plane->parts_->Start());
  return plane;
}

ControlPlane::ControlPlane(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

ControlPlane::~ControlPlane() {
  parts_->Stop(std::chrono::milliseconds(0));
  // Tasks of streams use everything: they run dry before anything goes.
  if (parts_->api) parts_->api->pool.Shutdown();
  parts_->server.reset();
  parts_->ingest.reset();
}

void ControlPlane::SetReady() {
  parts_->is_ready = true;
  parts_->server->SetServing(true);
}

void ControlPlane::StopServing(std::chrono::milliseconds grace) { parts_->Stop(grace); }

Stores& ControlPlane::stores() { return parts_->stores; }
Notifications& ControlPlane::notifications() { return parts_->notifications; }
LogIngest& ControlPlane::ingest() { return *parts_->ingest; }
UsageRecorder& ControlPlane::usage() { return parts_->usage; }
telemetry::Metrics& ControlPlane::metrics() { return parts_->metrics; }
const base::Clock& ControlPlane::clock() const { return parts_->clock; }
const std::string& ControlPlane::server_id() const { return parts_->server_id; }
std::uint16_t ControlPlane::port() const { return parts_->server->port(); }
const std::string& ControlPlane::address() const { return parts_->server->address(); }
std::size_t ControlPlane::open_streams() const { return parts_->api->open_streams.size(); }

std::string ControlPlane::url() const {
  const char* scheme = parts_->server->is_tls() ? "https" : "http";
  const std::string& host = parts_->settings.host;
  const bool is_any = host == "0.0.0.0" || host == "::";
  if (is_any) return fmt::format("{}://127.0.0.1:{}", scheme, port());
  // A certificate is for the name that was given, not for the address behind it.
  const bool is_v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}", scheme, is_v6 ? "[" + host + "]" : host, port());
}

}  // namespace dstack::server
