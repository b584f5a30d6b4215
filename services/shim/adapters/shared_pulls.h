#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include <absl/status/status.h>

#include "dstack/shim/v1/task.pb.h"

#include "libs/base/backoff.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/docker/images.h"

namespace dstack::shim {

struct PullPolicy {
  // A pull that brings nothing for so long is given up; there is no limit for the whole.
  std::chrono::milliseconds stall_limit = std::chrono::minutes(10);
  // How often a pull is tried that fails in a way that may pass.
  int max_attempts = 5;
  base::BackoffPolicy backoff{.initial = std::chrono::milliseconds(500),
                              .max = std::chrono::seconds(30)};
};

// What a pull tells while it goes on; called on the thread that waits for it.
struct PullObserver {
  std::function<void(const v1::PullProgress&)> on_progress;
  // As the engine wrote it, without the newline. Several may be joined by newlines. May be empty.
  std::function<void(const std::string&)> on_lines;
};

// Pulls images. Whoever asks for the same image with the same credentials at the same time shares
// one pull, which ends when the last of them is not interested any more. Thread-safe; calls block.
class SharedPulls {
 public:
  using PullFunction =
      std::function<absl::Status(const docker::PullOptions&, const std::stop_token&)>;

  // `pull` is called on threads of this object's own. References outlive it.
  SharedPulls(PullFunction pull, PullPolicy policy, base::Random& random);
  // No call may be in progress.
  ~SharedPulls();

  // Returns at once when `stop` is requested: CANCELLED. Errors as of docker::PullImage.
  absl::Status Pull(const std::string& reference,
                    const std::optional<docker::RegistryCredentials>& credentials,
                    const PullObserver& observer,
                    const std::stop_token& stop);

 private:
  class Flight;

  std::shared_ptr<Flight> Join(const std::string& key,
                               const std::string& reference,
                               const std::optional<docker::RegistryCredentials>& credentials);
  void Leave(const std::string& key, const std::shared_ptr<Flight>& flight);

  const PullFunction pull_;
  const PullPolicy policy_;
  base::Random& random_;
  base::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Flight>> flights_ GUARDED_BY(mutex_);
};

}  // namespace dstack::shim
