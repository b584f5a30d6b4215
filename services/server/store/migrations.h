#pragma once

#include <vector>

#include "libs/db/migrator.h"

namespace dstack::server {

// All steps of migrations/ in order, for db::Migrate.
const std::vector<db::Migration>& Migrations();

}  // namespace dstack::server
