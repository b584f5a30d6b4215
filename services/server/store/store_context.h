#pragma once

#include <chrono>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/uuid.h"
#include "libs/db/transaction.h"
#include "services/server/store/secret_box.h"

namespace dstack::server {

// What all stores share. The references outlive the stores.
struct StoreContext {
  db::Pool& pool;
  const SecretBox& box;
  const base::Clock& clock;
  base::IdSource& ids;
  // Longest time that one operation of a store may take, waiting for a connection included.
  std::chrono::milliseconds timeout{10'000};
};

// db::InTransaction within the time limit of the stores.
template <typename Fn>
auto Transact(const StoreContext& context, Fn&& fn) {
  return db::InTransaction(context.pool, db::Within(context.timeout), std::forward<Fn>(fn));
}

}  // namespace dstack::server
