#pragma once

#include <functional>
#include <memory>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "services/shim/options.h"

namespace dstack::shim {

// The shim as a whole: builds the parts, runs them, stops them in reverse order. Containers and
// processes of tasks outlive it.
class App {
 public:
  // Takes the home, finds the runtime, takes up the tasks of an earlier process and opens the
  // socket. ALREADY_EXISTS when another shim runs on this home. `restart` makes the process end with
  // kExitRestart; it must not block.
  static absl::StatusOr<std::unique_ptr<App>> Start(const Options& options,
                                                    std::function<void()> restart);
  ~App();

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace dstack::shim
