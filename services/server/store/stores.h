#pragma once

#include "services/server/store/postgres_file_store.h"
#include "services/server/store/postgres_fleet_store.h"
#include "services/server/store/postgres_identity_store.h"
#include "services/server/store/postgres_instance_store.h"
#include "services/server/store/postgres_job_store.h"
#include "services/server/store/postgres_log_store.h"
#include "services/server/store/postgres_retention_store.h"
#include "services/server/store/postgres_run_store.h"
#include "services/server/store/postgres_usage_store.h"
#include "services/server/store/store_context.h"

namespace dstack::server {

// All stores on one pool.
struct Stores {
  explicit Stores(const StoreContext& context)
      : runs(context),
        jobs(context),
        instances(context),
        fleets(context),
        logs(context),
        files(context),
        identities(context),
        usage(context),
        retention(context) {}

  PostgresRunStore runs;
  PostgresJobStore jobs;
  PostgresInstanceStore instances;
  PostgresFleetStore fleets;
  PostgresLogStore logs;
  PostgresFileStore files;
  PostgresIdentityStore identities;
  PostgresUsageStore usage;
  PostgresRetentionStore retention;
};

}  // namespace dstack::server
