#include "services/server/agents/job_keys.h"

#include <array>
#include <string>
#include <string_view>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "fmt/format.h"

namespace dstack::server {
namespace {

absl::StatusOr<ssh::KeyPair> Derive(const base::Secret& token_key,
                                    const std::string& label,
                                    std::string_view comment) {
  const std::string& key = token_key.Reveal();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  HMAC(EVP_sha256(),
       key.data(),
       static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(label.data()),
       label.size(),
       digest.data(),
       &size);
  return ssh::KeyPairFromSeed(base::Secret(std::string(digest.begin(), digest.begin() + size)),
                              comment);
}

}  // namespace

absl::StatusOr<ssh::KeyPair> JobHostKey(const base::Secret& token_key, const JobId& job) {
  return Derive(token_key, "dstack-job-host-key:" + job.str(), "");
}

absl::StatusOr<ssh::KeyPair> ClusterKey(const base::Secret& token_key,
                                        const RunId& run,
                                        std::uint32_t replica_num) {
  return Derive(
      token_key, fmt::format("dstack-cluster-key:{}:{}", run.str(), replica_num), "dstack-cluster");
}

void AddJobKeys(const base::Secret& token_key, const RunId& run, runner::v1::JobSpec* spec) {
  if (const auto host = JobHostKey(token_key, JobId(spec->identity().job_id())); host.ok()) {
    spec->set_ssh_host_private_key(host->private_key.Reveal());
  }
  if (spec->cluster().node_addresses_size() < 2) return;
  const auto cluster = ClusterKey(token_key, run, spec->identity().replica_num());
  if (!cluster.ok()) return;
  spec->mutable_cluster()->set_ssh_private_key(cluster->private_key.Reveal());
  spec->mutable_cluster()->set_ssh_public_key(cluster->public_key);
}

}  // namespace dstack::server
