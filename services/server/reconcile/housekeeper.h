#pragma once

#include "libs/base/clock.h"
#include "services/server/ports/retention_store.h"
#include "services/server/reconcile/wake_loop.h"

namespace dstack::server {

// Deletes what is old, a few rows at a time. One replica of all does it.
class Housekeeper {
 public:
  // The references outlive the object.
  Housekeeper(RetentionStore& store, const Retention& retention, const base::Clock& clock);

 private:
  bool Turn();

  RetentionStore& store_;
  const Retention retention_;
  const base::Clock& clock_;
  bool has_turn_ = false;
  WakeLoop loop_;
};

}  // namespace dstack::server
