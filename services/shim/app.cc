#include "services/shim/app.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <absl/strings/str_join.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <malloc.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grpc/health/v1/health.pb.h"

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/docker/endpoint.h"
#include "libs/exec/serial_executor.h"
#include "libs/exec/thread_pool.h"
#include "libs/exec/timer.h"
#include "libs/telemetry/log.h"
#include "services/shim/adapters/file_task_journal.h"
#include "services/shim/adapters/linux_host_resources.h"
#include "services/shim/adapters/runner_delivery.h"
#include "services/shim/api/drain_store.h"
#include "services/shim/api/identity_store.h"
#include "services/shim/api/session_hub.h"
#include "services/shim/api/shim_service.h"
#include "services/shim/choose_runtime.h"
#include "services/shim/domain/gpu_ledger.h"
#include "services/shim/host/facts.h"
#include "services/shim/host_watch.h"
#include "services/shim/pipeline/task_table.h"
#include "services/shim/supervise.h"
#include "services/shim/update/upgrader.h"

namespace dstack::shim {
namespace {

// Executors of tasks and sessions share these; their work is short (a record on disk).
constexpr std::size_t kStrandThreads = 3;
// Calls of the engine other than pulls, which last seconds at most.
constexpr std::size_t kStepThreads = 6;
// Pulls last as long as they last, and so does the waiting for one that others began; more than
// these wait their turn.
constexpr std::size_t kPullThreads = 32;
constexpr int kMaxUnaryThreads = 16;
constexpr std::chrono::seconds kDrainTime{2};
// Age and disk space, by which images are judged, change slowly.
constexpr std::chrono::minutes kTidyInterval{10};
constexpr std::chrono::seconds kRestoreWait{60};
constexpr std::chrono::milliseconds kRestorePause{500};
constexpr int kMaxMessageBytes = 4 << 20;
// A child becomes another program within milliseconds, on a loaded host within a second.
constexpr std::chrono::seconds kLockPatience{3};
constexpr std::chrono::milliseconds kLockPoll{10};

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

// Whoever owns the home is the account through which the server comes.
absl::StatusOr<Owner> TakeHome(const ShimHome& home) {
  RETURN_IF_ERROR(base::MakeDirs(home.root(), 0700));
  RETURN_IF_ERROR(base::MakeDirs(home.Tasks(), 0700));
  RETURN_IF_ERROR(base::MakeDirs(home.ShortNames(), 0700));
  struct stat info {};
  if (::stat(home.root().c_str(), &info) != 0) return base::ErrnoError(errno, home.root());
  if ((info.st_mode & 077) != 0 && ::chmod(home.root().c_str(), 0700) != 0) {
    return base::ErrnoError(errno, "chmod " + home.root());
  }
  return Owner{info.st_uid, info.st_gid};
}

// Held for life; the kernel gives it back when the process dies. When that was killed while it made
// a child, the child has the lock too, until it has become another program: that is waited for,
// with a poll, because waiting for a lock has no time limit.
absl::StatusOr<base::UniqueFd> LockHome(const ShimHome& home) {
  base::UniqueFd fd(::open(home.Lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return base::ErrnoError(errno, home.Lock());
  const auto deadline = base::DeadlineIn(kLockPatience);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::ErrnoError(errno, home.Lock());
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::AlreadyExistsError(fmt::format("another shim runs on the home {}", home.root()));
    }
    std::this_thread::sleep_for(kLockPoll);
  }
  return fd;
}

// By the names that a server gives to what it installs; unknown for a shim that was started by
// hand.
AgentSet RunningAgents(const Options& options) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return {.shim = error ? "" : DigitsOfPath(self.string()),
          .runner = DigitsOfPath(options.runner_binary),
          .ssh = DigitsOfPath(options.ssh_bundle_dir)};
}

HostAbilities AbilitiesOf(const RuntimeFacts& facts,
                          const Options& options,
                          const std::vector<std::string>& missing) {
  HostAbilities abilities{.has_images = facts.has_images,
                          .has_base_image = !options.base_image.empty(),
                          .has_privileged = facts.has_privileged,
                          .has_mounts = facts.has_mounts,
                          .missing_capabilities = missing,
                          .protected_paths = {options.home}};
  // Whoever can talk to the engine is the superuser.
  const auto endpoint = docker::EndpointFromEnvironment();
  if (endpoint.ok() && !endpoint->socket_path.empty()) {
    abilities.protected_paths.push_back(endpoint->socket_path);
  }
  abilities.privileged_hint =
      facts.has_images ? fmt::format("the kernel does not give {}", absl::StrJoin(missing, ", "))
                       : "it has no container engine";
  return abilities;
}

v1::Capabilities CapabilitiesOf(const RuntimeFacts& facts) {
  v1::Capabilities capabilities;
  capabilities.set_has_images(facts.has_images);
  capabilities.set_has_privileged(facts.has_privileged);
  capabilities.set_has_mounts(facts.has_mounts);
  return capabilities;
}

}  // namespace

// In the order of construction; the destructor of App ends them in reverse.
struct App::Parts {
  Parts(const Options& options_in, std::function<void()> restart_in)
      : options(options_in), home(options_in.home), restart(std::move(restart_in)) {}

  absl::Status Build();
  absl::Status Restore();
  absl::Status MakeServices();
  absl::Status Serve();
  void Stop();
  // Now and then, for as long as the shim lives.
  void TidyLater();
  v1::HostFacts Facts() const { return host->Facts(runtime->facts()); }

  const Options options;
  const ShimHome home;
  const std::function<void()> restart;
  Owner owner;
  base::UniqueFd lock;
  base::RealClock clock;
  base::SeededRandom random;
  std::optional<IdentityStore> identity;
  std::vector<std::string> missing_capabilities;
  GpuLedger ledger;
  std::unique_ptr<HostWatch> host;
  HostAbilities abilities;
  StatusBoard board;

  std::unique_ptr<exec::TimerQueue> timers;
  std::unique_ptr<exec::ThreadPool> strands;
  std::unique_ptr<TaskDirectory> directory;
  std::unique_ptr<FileTaskJournal> journal;
  std::unique_ptr<LinuxHostResources> host_resources;
  // Before the table, which is made first and ended last: their callbacks post to its executors.
  std::unique_ptr<TaskTable> table;
  std::unique_ptr<exec::ThreadPool> steps;
  std::unique_ptr<exec::ThreadPool> pulls;
  std::unique_ptr<RunnerDelivery> delivery;
  std::unique_ptr<ContainerRuntime> runtime;
  std::optional<DrainStore> drain;
  std::unique_ptr<exec::SerialExecutor> upgrade_executor;
  std::unique_ptr<Upgrader> upgrader;
  std::unique_ptr<exec::SerialExecutor> tidy_executor;
  std::unique_ptr<exec::SerialExecutor> hub_executor;
  std::unique_ptr<SessionHub> hub;
  std::unique_ptr<ShimService> service;
  std::unique_ptr<grpc::Server> server;
};

void App::Parts::TidyLater() {
  tidy_executor->PostAfter(kTidyInterval, [this] {
    runtime->Tidy();
    TidyLater();
  });
}

absl::Status App::Parts::Build() {
  ASSIGN_OR_RETURN(owner, TakeHome(home));
  ASSIGN_OR_RETURN(lock, LockHome(home));
  ASSIGN_OR_RETURN(IdentityStore store, IdentityStore::Load(home));
  identity.emplace(std::move(store));
  missing_capabilities = MissingCapabilitiesHere();
  ASSIGN_OR_RETURN(
      runtime,
      ConnectRuntime(options,
                     home,
                     identity->shim_id(),
                     owner.uid,
                     owner.gid,
                     missing_capabilities,
                     [this](const std::vector<std::string>& ids) { return ledger.Describe(ids); }));
  host = std::make_unique<HostWatch>(home, options.device_root, ledger);
  abilities = AbilitiesOf(runtime->facts(), options, missing_capabilities);

  timers = std::make_unique<exec::TimerQueue>();
  strands = std::make_unique<exec::ThreadPool>("strand", kStrandThreads);
  steps = std::make_unique<exec::ThreadPool>("step", kStepThreads);
  pulls = std::make_unique<exec::ThreadPool>("pull", kPullThreads);
  directory = std::make_unique<TaskDirectory>(home, owner.uid, owner.gid);
  journal = std::make_unique<FileTaskJournal>(home);
  host_resources = std::make_unique<LinuxHostResources>(
      VolumeStoreSettings{.mount_root = options.volumes_dir, .state_file = home.MountedVolumes()},
      HostKeysSettings{.owner = identity->shim_id(), .state_file = home.KeyAccounts()},
      *steps,
      *timers);
  delivery = std::make_unique<RunnerDelivery>(
      home,
      RunnerDeliverySettings{
          .runner_binary = options.runner_binary, .owner = owner.uid, .group = owner.gid},
      *steps,
      *timers);
  table = std::make_unique<TaskTable>(
      PipelineContext{.runtime = *runtime,
                      .journal = *journal,
                      .gpus = ledger,
                      .board = board,
                      .delivery = *delivery,
                      .host = *host_resources,
                      .directory = *directory,
                      .abilities = abilities,
                      .steps = *steps,
                      .pulls = *pulls,
                      .clock = clock,
                      .random = random},
      [this] { return std::make_shared<exec::SerialExecutor>(*strands, *timers); });
  return absl::OkStatus();
}

absl::Status App::Parts::Restore() {
  const auto deadline = base::DeadlineIn(kRestoreWait);
  while (true) {
    absl::Status status = table->Restore();
    if (status.ok() || !base::IsTransient(status)) return status;
    if (std::chrono::steady_clock::now() > deadline) return status;
    telemetry::Warn("waiting for the container engine", {{"status", status}});
    std::this_thread::sleep_for(kRestorePause);
  }
}

absl::Status App::Parts::MakeServices() {
  drain.emplace(home, board);
  RETURN_IF_ERROR(drain->Load());
  upgrade_executor = std::make_unique<exec::SerialExecutor>(*steps, *timers);
  upgrader = std::make_unique<Upgrader>(
      home,
      UpgraderSettings{.running = RunningAgents(options),
                       .is_supervised = std::getenv(kSupervisedVariable) != nullptr,  // NOLINT
                       .restart = restart,
                       .tasks = [this] { return table->ids(); }},
      *upgrade_executor);
  host->Measure(
      *runtime, [this] { return board.List(); }, *steps, clock);
  tidy_executor = std::make_unique<exec::SerialExecutor>(*pulls, *timers);
  TidyLater();
  hub_executor = std::make_unique<exec::SerialExecutor>(*strands, *timers);
  hub = std::make_unique<SessionHub>(*identity,
                                     *table,
                                     board,
                                     *drain,
                                     *upgrader,
                                     HostSource{.runtime = CapabilitiesOf(runtime->facts()),
                                                .facts = [this] { return Facts(); },
                                                .metrics = [this] { return host->Metrics(); }},
                                     *hub_executor);
  service =
      std::make_unique<ShimService>(ShimServiceContext{.hub = *hub,
                                                       .table = *table,
                                                       .board = board,
                                                       .drain = *drain,
                                                       .upgrader = *upgrader,
                                                       .gpus = ledger,
                                                       .runtime = *runtime,
                                                       .home = home,
                                                       .facts = [this] { return Facts(); },
                                                       .refresh_host = [this] { host->Refresh(); },
                                                       .clock = clock});
  host->SetListener([this] { hub->RefreshFacts(); });
  board.SetObserver([this] {
    hub->OnTasksChanged();
    upgrader->OnTasksChanged();
  });
  return absl::OkStatus();
}

absl::Status App::Parts::Serve() {
  // Mentioned, so that the linker keeps the file and reflection can describe it.
  static_cast<void>(grpc::health::v1::HealthCheckRequest::descriptor());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  // The socket's file is the credential: only its owner can open it.
  ::unlink(home.Socket().c_str());
  builder.AddListeningPort("unix:" + home.Socket(), grpc::InsecureServerCredentials());
  builder.RegisterService(service.get());
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A server pings its session; C-core would refuse pings below five minutes otherwise.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  grpc::ResourceQuota quota("shim");
  quota.SetMaxThreads(kMaxUnaryThreads);
  builder.SetResourceQuota(quota);
  hub->Start();
  server = builder.BuildAndStart();
  if (!server) return absl::UnavailableError("cannot listen on " + home.Socket());
  const bool is_open =
      ::chmod(home.Socket().c_str(), 0600) == 0 &&
      (::geteuid() != 0 || ::chown(home.Socket().c_str(), owner.uid, owner.gid) == 0);
  if (!is_open) return base::ErrnoError(errno, home.Socket());
  auto* health = server->GetHealthCheckService();
  health->SetServingStatus("dstack.shim.v1.ShimService", true);
  upgrader->OnServing([this](const v1::UpgradeStatus& status) {
    v1::SessionResponse message;
    *message.mutable_upgrade_status() = status;
    hub->Announce(std::move(message));
  });
  return absl::OkStatus();
}

void App::Parts::Stop() {
  if (host) host->SetListener({});
  if (server) server->GetHealthCheckService()->SetServingStatus(false);
  if (hub) hub->Stop();
  if (hub_executor) hub_executor->Drain();
  if (server) server->Shutdown(std::chrono::system_clock::now() + kDrainTime);
  // No commands come any more; running steps are cut off or awaited.
  if (table) table->Close();
  board.SetObserver({});
  if (upgrade_executor) upgrade_executor->Drain();
  tidy_executor.reset();
  if (pulls) pulls->Shutdown();
  if (steps) steps->Shutdown();
  service.reset();
  server.reset();
  upgrade_executor.reset();
  hub_executor.reset();
  hub.reset();
  upgrader.reset();
  delivery.reset();
  // Its watches call back a last time, to executors of the table.
  runtime.reset();
  table.reset();
  // Before the pools, to which it posts.
  timers.reset();
  ::unlink(home.Socket().c_str());
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() { parts_->Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Start(const Options& options,
                                                std::function<void()> restart) {
  // A few arenas instead of eight per core: most threads sleep.
  ::mallopt(M_ARENA_MAX, 2);
  std::unique_ptr<App> app(new App(std::make_unique<Parts>(options, std::move(restart))));
  RETURN_IF_ERROR(app->parts_->Build());
  RETURN_IF_ERROR(app->parts_->Restore());
  RETURN_IF_ERROR(app->parts_->MakeServices());
  RETURN_IF_ERROR(app->parts_->Serve());
  const RuntimeFacts facts = app->parts_->runtime->facts();
  telemetry::Info("shim started",
                  {{"shim_id", app->parts_->identity->shim_id()},
                   {"home", options.home},
                   {"runtime", v1::ContainerRuntime_Name(facts.kind)},
                   {"runtime_version", facts.version},
                   {"tasks", app->parts_->table->size()}});
  return app;
}

}  // namespace dstack::shim
