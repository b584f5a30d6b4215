#pragma once

#include <memory>

#include "libs/base/clock.h"
#include "services/server/ports/job_store.h"
#include "services/server/ports/notifications.h"
#include "services/server/reconcile/wake_loop.h"

namespace dstack::server {

// Gives hosts to waiting jobs. Every replica runs one; the store lets only one of them win a block,
// the others drop their result and look again. Decides with the pure function Schedule on a
// snapshot.
class Scheduler {
 public:
  Scheduler(JobStore& jobs, Notifications& notifications, const base::Clock& clock);

 private:
  bool Turn();

  JobStore& jobs_;
  const base::Clock& clock_;
  WakeLoop loop_;
  std::unique_ptr<Subscription> subscription_;  // ends before the loop that it wakes
};

}  // namespace dstack::server
