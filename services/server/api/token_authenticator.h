#pragma once

#include <chrono>
#include <map>
#include <string>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/rpc/gate.h"
#include "services/server/ports/identity_store.h"

namespace dstack::server {

// Tokens of users. A token that was good is believed for a few seconds without asking the database
// again, so a revoked one stops working within that time. The cache is keyed by the token's
// SHA-256: nothing in memory or in timing shows a token. Thread-safe.
class TokenAuthenticator final : public rpc::Authenticator {
 public:
  static constexpr std::chrono::seconds kBelief{5};

  // Both outlive this object.
  TokenAuthenticator(IdentityStore& identities, const base::Clock& clock);

  absl::StatusOr<rpc::Identity> Authenticate(const base::Secret& token) override;

 private:
  struct Known {
    rpc::Identity identity;
    base::MonotonicTime until;
  };

  IdentityStore& identities_;
  const base::Clock& clock_;
  base::Mutex mutex_;
  std::map<std::string, Known> known_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
