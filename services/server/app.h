#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/server/options.h"

namespace dstack::server {

// The running server. Only one at a time per home directory.
class App {
 public:
  // Blocks until the server is ready; health says SERVING then. Prints nothing.
  static absl::StatusOr<std::unique_ptr<App>> Start(const Options& options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Not serving, streams end, calls get `grace`, hosts are given back, the private database stops.
  // Idempotent.
  void Stop(std::chrono::milliseconds grace);

  const std::string& url() const;
  const base::Secret& admin_token() const;
  // The token was made by this start: the person must see it once.
  bool has_new_token() const;

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Brings the database of the options to this version. For a job that runs before the servers of a
// new release.
absl::Status MigrateDatabase(const Options& options);

}  // namespace dstack::server
