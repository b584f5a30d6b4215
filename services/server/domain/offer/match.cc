#include "services/server/domain/offer/match.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "services/server/domain/offer/blocks.h"
#include "services/server/domain/offer/requirements.h"

namespace dstack::server {
namespace {

using api::v1::Offer;
using Standing = Candidate::Standing;

struct Ranked {
  const Instance* instance;
  Candidate candidate;
};

std::uint32_t FreeBlocks(const Instance& instance) {
  const std::uint32_t usable = instance.resources
                                   ? UsableBlocks(*instance.resources, instance.total_blocks)
                                   : instance.total_blocks;
  return usable - std::min(instance.busy_blocks, usable);
}

// The smallest share of the host that satisfies the run; 0: not even the whole host does.
std::uint32_t BlocksFor(const config::v1::RunConfiguration& run,
                        const Instance& instance,
                        const Why& why) {
  const auto& resources = *instance.resources;
  const std::uint32_t total = std::max<std::uint32_t>(1, instance.total_blocks);
  const std::uint32_t first = NeedsWholeHost(run) ? total : 1;
  for (std::uint32_t blocks = first; blocks < total; ++blocks) {
    if (ResourcesFit(run.resources(), ShareOf(resources, blocks, total), Why())) return blocks;
  }
  return ResourcesFit(run.resources(), ShareOf(resources, total, total), why) ? total : 0;
}

bool IsSettingUp(const Instance& instance) {
  return instance.status == api::v1::INSTANCE_STATUS_PENDING ||
         instance.status == api::v1::INSTANCE_STATUS_PROVISIONING;
}

// Why the host has no room, in the unit that the run counts in.
std::string RoomText(const config::v1::RunConfiguration& run,
                     const Instance& instance,
                     std::uint32_t blocks) {
  if (instance.total_blocks <= 1) return "is in use";
  const std::uint32_t free_blocks = FreeBlocks(instance);
  const auto needs = ShareOf(*instance.resources, blocks, instance.total_blocks).gpu_count;
  const auto has = ShareOf(*instance.resources, free_blocks, instance.total_blocks).gpu_count;
  if (run.resources().gpu().count().min() > 0 && needs > has)
    return fmt::format("needs {} GPU{}, {} free", needs, needs == 1 ? "" : "s", has);
  return fmt::format("needs {} of {} blocks, {} free", blocks, instance.total_blocks, free_blocks);
}

bool IsFree(const config::v1::RunConfiguration& run,
            const Instance& instance,
            std::uint32_t blocks,
            const Why& why) {
  if (instance.is_unreachable) return why.Not("is unreachable");
  if (IsSettingUp(instance)) return why.Not("is still being set up");
  return blocks <= FreeBlocks(instance) || why.Not([&] { return RoomText(run, instance, blocks); });
}

api::v1::OfferAvailability AvailabilityOf(Standing standing) {
  switch (standing) {
    case Standing::kFree:
      return api::v1::OFFER_AVAILABILITY_IDLE;
    case Standing::kBusy:
      return api::v1::OFFER_AVAILABILITY_BUSY;
    case Standing::kUnfit:
      break;
  }
  return api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE;
}

// Puts hosts that have the same reason together.
class ReasonList {
 public:
  explicit ReasonList(const MatchOptions& options) : options_(options) {}

  void Add(const std::string& instance_name, const std::string& reason) {
    const auto [entry, is_new] = places_.try_emplace(reason, list_.size());
    if (is_new) list_.push_back({.reason = reason, .host_count = 0, .instance_names = {}});
    UnavailableHosts& hosts = list_[entry->second];
    ++hosts.host_count;
    if (hosts.instance_names.size() < options_.max_names)
      hosts.instance_names.push_back(instance_name);
  }

  std::vector<UnavailableHosts> Take() {
    if (list_.size() > options_.max_reasons) list_.resize(options_.max_reasons);
    return std::move(list_);
  }

 private:
  const MatchOptions& options_;
  std::vector<UnavailableHosts> list_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace

Candidate Judge(const api::v1::RunSpec& effective_spec,
                const std::optional<FleetId>& fleet,
                const Instance& instance,
                std::string* why_text) {
  const Why why(why_text);
  const config::v1::RunConfiguration& run = effective_spec.configuration();
  Candidate candidate;
  if (instance.status == api::v1::INSTANCE_STATUS_TERMINATING || IsFinal(instance.status)) {
    why.Not("is being given up");
    return candidate;
  }
  if (fleet && *fleet != instance.fleet_id) {
    why.Not("is not in the fleet that the run began in");
    return candidate;
  }
  if (instance.drain) {
    why.Not([&] { return "draining: " + instance.drain->reason; });
    return candidate;
  }
  if (!SelectorsAllow(effective_spec, instance, why) || !RuntimeAllows(run, instance, why))
    return candidate;
  if (!instance.resources.has_value()) {
    candidate.standing = Standing::kBusy;
    why.Not("is still being set up");
    return candidate;
  }
  candidate.blocks = BlocksFor(run, instance, why);
  if (candidate.blocks == 0) return candidate;
  candidate.standing =
      IsFree(run, instance, candidate.blocks, why) ? Standing::kFree : Standing::kBusy;
  return candidate;
}

bool ComesFirst(const Instance& a,
                const Candidate& a_candidate,
                const Instance& b,
                const Candidate& b_candidate) {
  const auto rank = [](const Instance& instance, const Candidate& candidate) {
    return std::tie(candidate.standing,
                    instance.total_blocks,
                    candidate.blocks,
                    instance.fleet_name,
                    instance.instance_num,
                    instance.name);
  };
  return rank(a, a_candidate) < rank(b, b_candidate);
}

Offer MakeOffer(const Instance& instance, const Candidate& candidate, OfferExtent extent) {
  Offer offer;
  offer.set_backend("ssh");
  offer.set_region("remote");
  offer.set_instance_type("instance");
  offer.set_total_blocks(instance.total_blocks);
  offer.set_instance_id(instance.id.str());
  offer.set_instance_name(instance.name);
  std::uint32_t blocks = candidate.blocks == 0 ? instance.total_blocks : candidate.blocks;
  if (extent == OfferExtent::kWhole) blocks = instance.total_blocks;
  if (extent == OfferExtent::kFree) blocks = FreeBlocks(instance);
  offer.set_blocks(blocks);
  if (instance.resources.has_value()) {
    *offer.mutable_resources() = ShareResources(*instance.resources, blocks, instance.total_blocks);
  }
  offer.set_availability(AvailabilityOf(candidate.standing));
  return offer;
}

Matches MatchInstances(const api::v1::RunSpec& effective_spec,
                       const std::vector<Instance>& instances,
                       const MatchOptions& options) {
  std::vector<Ranked> ranked;
  ranked.reserve(instances.size());
  for (const Instance& instance : instances)
    ranked.push_back({&instance, Judge(effective_spec, options.fleet, instance)});
  std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
    return ComesFirst(*a.instance, a.candidate, *b.instance, b.candidate);
  });

  Matches matches;
  matches.total_offers = static_cast<std::uint32_t>(ranked.size());
  ReasonList reasons(options);
  for (const Ranked& host : ranked) {
    const bool is_offered = matches.offers.size() < options.max_offers;
    if (is_offered)
      matches.offers.push_back(MakeOffer(*host.instance, host.candidate, options.extent));
    if (host.candidate.standing == Standing::kFree || options.max_reasons == 0) continue;
    std::string reason;
    Judge(effective_spec, options.fleet, *host.instance, &reason);
    reasons.Add(host.instance->name, reason);
    if (is_offered) matches.offers.back().set_unavailable_reason(std::move(reason));
  }
  matches.unavailable_hosts = reasons.Take();
  return matches;
}

std::string DescribeUnavailable(const UnavailableHosts& hosts) {
  std::string names = absl::StrJoin(hosts.instance_names, ", ");
  if (hosts.host_count > hosts.instance_names.size())
    names += fmt::format(" and {} more", hosts.host_count - hosts.instance_names.size());
  return fmt::format("{}: {}", names, hosts.reason);
}

}  // namespace dstack::server
