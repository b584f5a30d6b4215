#include "services/server/agents/host_upgrade.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::server {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;
// Sent and not yet on the host's disk. Small, because commands of jobs wait behind it on a slow
// line; large enough for the round trip of a fast one.
constexpr std::uint64_t kWindowBytes = 4 * kChunkBytes;
// Transfers that were cut off by the end of their session.
constexpr int kMaxAttempts = 5;

// A host tells at least the first digits of what runs.
bool IsSameDigest(const std::string& told, const std::string& digest) {
  return !told.empty() && digest.compare(0, told.size(), told) == 0;
}

}  // namespace

bool HostUpgrade::Runs(shim::v1::Component component, const AgentFile& file) const {
  const auto& running = hello_.components();
  return std::any_of(running.begin(), running.end(), [&](const shim::v1::ComponentDigest& digest) {
    return digest.component() == component && IsSameDigest(digest.sha256(), file.digest);
  });
}

void HostUpgrade::OnSynced() {
  const auto& running = hello_.components();
  // One that was started by hand is its owner's business.
  const bool is_installed = !running.empty() && !running[0].sha256().empty();
  if (is_installed && hello_.capabilities().has_upgrade()) hooks_.load_agents();
}

bool HostUpgrade::WasRolledBack() const {
  if (last_.state() != shim::v1::UPGRADE_STATE_ROLLED_BACK) return false;
  const auto& tried = last_.components();
  return std::any_of(tried.begin(), tried.end(), [&](const shim::v1::ComponentDigest& digest) {
    return digest.component() == shim::v1::COMPONENT_SHIM &&
           IsSameDigest(digest.sha256(), files_->shim.digest);
  });
}

void HostUpgrade::OnAgents(std::shared_ptr<const AgentBundle::Files> files) {
  Forget();
  files_ = std::move(files);
  parts_ = {{shim::v1::COMPONENT_SHIM, &files_->shim},
            {shim::v1::COMPONENT_RUNNER, &files_->runner}};
  if (files_->ssh.has_value()) parts_.push_back({shim::v1::COMPONENT_SSH, &*files_->ssh});
  bool is_needed = false;
  for (Part& part : parts_) {
    part.is_needed = !Runs(part.component, *part.file);
    part.is_staged = !part.is_needed;
    is_needed = is_needed || part.is_needed;
  }
  const bool is_hopeless =
      std::find(refused_.begin(), refused_.end(), files_->shim.digest) != refused_.end() ||
      attempts_ >= kMaxAttempts;
  if (!is_needed || is_hopeless) return Forget();
  if (WasRolledBack()) return Fail(last_.message());
  ++attempts_;
  telemetry::Info("the agents of a host are brought to this server's version",
                  {{"instance_id", instance_id_}, {"shim", files_->shim.VersionedName()}});
  SendChunks();
}

void HostUpgrade::SendChunks() {
  for (Part& part : parts_) {
    if (part.is_staged) continue;
    const std::string& content = part.file->content;
    while (part.sent_bytes < content.size() && part.sent_bytes - part.acked_bytes < kWindowBytes) {
      shim::v1::SessionRequest request;
      auto* chunk = request.mutable_component_chunk();
      chunk->mutable_component()->set_component(part.component);
      chunk->mutable_component()->set_sha256(part.file->digest);
      chunk->set_total_bytes(content.size());
      chunk->set_offset(part.sent_bytes);
      chunk->set_data(content.substr(part.sent_bytes, kChunkBytes));
      part.sent_bytes += chunk->data().size();
      hooks_.send(std::move(request));
    }
    // One after the other.
    return;
  }
  Activate();
}

void HostUpgrade::OnComponentStatus(const shim::v1::ComponentStatus& status) {
  for (Part& part : parts_) {
    if (part.file->digest != status.component().sha256() || part.is_staged) continue;
    if (status.state() == shim::v1::COMPONENT_STATE_REFUSED) {
      const std::string why = fmt::format("{} was refused: {}", part.file->name, status.message());
      // Not the component's fault: somebody may make room.
      return status.reason() == base::kDiskFull ? Postpone(why) : Fail(why);
    }
    part.acked_bytes = status.received_bytes();
    part.is_staged = status.state() == shim::v1::COMPONENT_STATE_STAGED;
    return SendChunks();
  }
}

void HostUpgrade::Activate() {
  shim::v1::SessionRequest request;
  for (const Part& part : parts_) {
    auto* digest = request.mutable_activate()->add_components();
    digest->set_component(part.component);
    digest->set_sha256(part.file->digest);
  }
  hooks_.send(std::move(request));
}

void HostUpgrade::OnUpgradeStatus(const shim::v1::UpgradeStatus& status) {
  last_ = status;
  telemetry::Info("upgrade of a host",
                  {{"instance_id", instance_id_},
                   {"state", shim::v1::UpgradeState_Name(status.state())},
                   {"message", status.message()}});
  if (status.state() == shim::v1::UPGRADE_STATE_REFUSED && files_ != nullptr) {
    return Fail(status.message());
  }
  // Tens of megabytes that nobody needs any more.
  if (status.state() == shim::v1::UPGRADE_STATE_ACTIVATING) Forget();
}

void HostUpgrade::Fail(const std::string& message) {
  refused_.push_back(files_->shim.digest);
  Postpone(message);
}

void HostUpgrade::Postpone(const std::string& message) {
  telemetry::Warn("a host stays with its agents",
                  {{"instance_id", instance_id_}, {"message", message}});
  Forget();
  hooks_.on_failed(message);
}

void HostUpgrade::OnSessionLost() { Forget(); }

void HostUpgrade::Forget() {
  parts_.clear();
  files_.reset();
}

}  // namespace dstack::server
