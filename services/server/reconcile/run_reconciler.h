#pragma once

#include <memory>

#include "libs/base/clock.h"
#include "services/server/ports/notifications.h"
#include "services/server/ports/run_store.h"
#include "services/server/reconcile/wake_loop.h"

namespace dstack::server {

// Looks at runs whose time has come: retries, deadlines. Changes of jobs need no turn here, they
// roll up in their own transaction.
class RunReconciler {
 public:
  RunReconciler(RunStore& runs, Notifications& notifications, const base::Clock& clock);

 private:
  bool Turn();

  RunStore& runs_;
  const base::Clock& clock_;
  WakeLoop loop_;
  std::unique_ptr<Subscription> subscription_;  // ends before the loop that it wakes
};

}  // namespace dstack::server
