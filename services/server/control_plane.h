#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/base/clock.h"
#include "libs/base/secret.h"
#include "libs/telemetry/metrics.h"
#include "services/server/logs/log_ingest.h"
#include "services/server/ports/notifications.h"
#include "services/server/ports/retention_store.h"
#include "services/server/store/stores.h"
#include "services/server/usage/usage_recorder.h"

namespace dstack::server {

// One server process without its connections to hosts: database, stores, reconcilers, live logs,
// API. The App adds the rest; tests use it alone. Started objects are taken down in reverse order.
class ControlPlane {
 public:
  struct Settings {
    std::string conninfo;
    base::Secret master_key;  // 32 raw bytes: seals what is secret in the database
    base::Secret admin_token;
    std::string replica_id;
    std::size_t database_connections = 8;

    std::string host = "127.0.0.1";
    std::uint16_t port = 0;
    bool is_plaintext_allowed = false;
    std::string tls_certificate_file;
    std::string tls_key_file;
    int max_threads = 64;
    Retention retention;
  };

  // Brings the database to this version, makes admin and project `main`, and listens; health says
  // NOT_SERVING until SetReady().
  static absl::StatusOr<std::unique_ptr<ControlPlane>> Start(const Settings& settings);
  ~ControlPlane();
  ControlPlane(const ControlPlane&) = delete;
  ControlPlane& operator=(const ControlPlane&) = delete;

  // From now on health says SERVING while the database answers.
  void SetReady();
  // Not serving, streams end with UNAVAILABLE/SHUTTING_DOWN, calls get `grace` to end. Connections
  // to hosts still work. Idempotent.
  void StopServing(std::chrono::milliseconds grace);

  Stores& stores();
  Notifications& notifications();
  LogIngest& ingest();
  UsageRecorder& usage();
  telemetry::Metrics& metrics();
  const base::Clock& clock() const;
  const std::string& server_id() const;
  std::uint16_t port() const;
  // "127.0.0.1:3000"
  const std::string& address() const;
  // "http://127.0.0.1:3000", with a host that can be dialled
  std::string url() const;
  // Streams that are open, for tests and metrics.
  std::size_t open_streams() const;

 private:
  struct Parts;
  explicit ControlPlane(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dstack::server
