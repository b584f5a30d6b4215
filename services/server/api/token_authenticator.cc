#include "services/server/api/token_authenticator.h"

#include <utility>

#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::server {
namespace {

constexpr std::size_t kMaxKnown = 10'000;

}  // namespace

TokenAuthenticator::TokenAuthenticator(IdentityStore& identities, const base::Clock& clock)
    : identities_(identities), clock_(clock) {}

absl::StatusOr<rpc::Identity> TokenAuthenticator::Authenticate(const base::Secret& token) {
  const std::string digest = base::Sha256Bytes(token.Reveal());
  const auto now = clock_.MonotonicNow();
  {
    base::MutexLock lock(mutex_);
    const auto it = known_.find(digest);
    if (it != known_.end() && it->second.until > now) return it->second.identity;
  }
  auto user = identities_.FindByToken(token);
  if (absl::IsNotFound(user.status())) {
    return base::Error(absl::StatusCode::kUnauthenticated,
                       "INVALID_TOKEN",
                       "the token is unknown, expired or revoked");
  }
  if (!user.ok()) return user.status();
  rpc::Identity identity{.user_id = user->id.str(),
                         .user_name = user->name,
                         .is_global_admin = user->global_role == api::v1::GLOBAL_ROLE_ADMIN};
  base::MutexLock lock(mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[digest] = {identity, now + kBelief};
  return identity;
}

}  // namespace dstack::server
