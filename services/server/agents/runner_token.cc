#include "services/server/agents/runner_token.h"

#include <array>
#include <string_view>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "libs/base/sha256.h"

namespace dstack::server {

std::string RunnerToken(const base::Secret& token_key, const JobId& job) {
  const std::string& key = token_key.Reveal();
  const std::string text = "dstack-runner-token:" + job.str();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  HMAC(EVP_sha256(),
       key.data(),
       static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()),
       text.size(),
       digest.data(),
       &size);
  return base::HexEncode(std::string(digest.begin(), digest.begin() + size));
}

}  // namespace dstack::server
