#include "services/server/domain/offer/match.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "services/server/domain/offer/requirements.h"

namespace dstack::server {
namespace {

using api::v1::Offer;

// Why a host cannot take the run whatever is free on it; empty when it could.
std::string NeverFits(const api::v1::RunSpec& spec, const Instance& instance) {
  if (instance.status == api::v1::INSTANCE_STATUS_TERMINATING || IsFinal(instance.status))
    return "is being given up";
  if (std::string reason = SelectorMismatch(spec, instance); !reason.empty()) return reason;
  return RuntimeMismatch(spec.configuration(), instance);
}

common::v1::Resources ShareOf(const common::v1::Resources& whole,
                              std::uint32_t blocks,
                              std::uint32_t total_blocks) {
  common::v1::Resources share = whole;
  if (total_blocks <= 1) return share;
  share.set_cpus(whole.cpus() / total_blocks * blocks);
  share.set_memory_bytes(whole.memory_bytes() / total_blocks * blocks);
  const int gpus = whole.gpus_size() / static_cast<int>(total_blocks) * static_cast<int>(blocks);
  while (share.gpus_size() > gpus) share.mutable_gpus()->RemoveLast();
  return share;
}

Offer OfferOf(const Instance& instance) {
  Offer offer;
  offer.set_backend("ssh");
  offer.set_region("remote");
  offer.set_instance_type("instance");
  offer.set_total_blocks(instance.total_blocks);
  offer.set_blocks(instance.total_blocks);
  offer.set_instance_id(instance.id.str());
  offer.set_instance_name(instance.name);
  if (instance.resources.has_value()) *offer.mutable_resources() = *instance.resources;
  return offer;
}

bool IsSettingUp(const Instance& instance) {
  return instance.status == api::v1::INSTANCE_STATUS_PENDING ||
         instance.status == api::v1::INSTANCE_STATUS_PROVISIONING;
}

Offer NotAvailable(const Instance& instance, const std::string& reason) {
  Offer offer = OfferOf(instance);
  offer.set_availability(api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE);
  offer.set_unavailable_reason(reason);
  return offer;
}

// The smallest share of the host that satisfies the run; free or not.
Offer MatchOne(const api::v1::RunSpec& spec, const Instance& instance) {
  if (std::string reason = NeverFits(spec, instance); !reason.empty())
    return NotAvailable(instance, reason);
  Offer offer = OfferOf(instance);
  if (!instance.resources.has_value()) {
    offer.set_availability(api::v1::OFFER_AVAILABILITY_BUSY);
    offer.set_unavailable_reason("is still being set up");
    return offer;
  }
  std::string reason;
  for (std::uint32_t blocks = 1; blocks <= instance.total_blocks; ++blocks) {
    const common::v1::Resources share = ShareOf(*instance.resources, blocks, instance.total_blocks);
    reason = ResourceMismatch(spec.configuration().resources(), share);
    if (!reason.empty()) continue;
    *offer.mutable_resources() = share;
    offer.set_blocks(blocks);
    const std::uint32_t free_blocks =
        instance.total_blocks - std::min(instance.busy_blocks, instance.total_blocks);
    if (IsSettingUp(instance) || instance.is_unreachable) {
      offer.set_unavailable_reason(instance.is_unreachable ? "is unreachable"
                                                           : "is still being set up");
    } else if (free_blocks < blocks) {
      offer.set_unavailable_reason(fmt::format(
          "needs {} of {} blocks, {} free", blocks, instance.total_blocks, free_blocks));
    }
    offer.set_availability(offer.unavailable_reason().empty() ? api::v1::OFFER_AVAILABILITY_IDLE
                                                              : api::v1::OFFER_AVAILABILITY_BUSY);
    return offer;
  }
  return NotAvailable(instance, reason);
}

int Rank(const Offer& offer) {
  switch (offer.availability()) {
    case api::v1::OFFER_AVAILABILITY_IDLE:
      return 0;
    case api::v1::OFFER_AVAILABILITY_BUSY:
      return 1;
    default:
      return 2;
  }
}

std::string NoCapacityMessage(const std::vector<Offer>& offers) {
  if (offers.empty())
    return "no fleets: the project has no fleet with hosts; create one with `dstack apply`";
  std::vector<std::string> reasons;
  for (const Offer& offer : offers) {
    if (reasons.size() == 3) {
      reasons.push_back(fmt::format("and {} more", offers.size() - 3));
      break;
    }
    reasons.push_back(fmt::format("{}: {}", offer.instance_name(), offer.unavailable_reason()));
  }
  return "no host fits: " + absl::StrJoin(reasons, "; ");
}

}  // namespace

std::vector<Offer> MatchInstances(const api::v1::RunSpec& effective_spec,
                                  const std::vector<Instance>& instances) {
  std::vector<Offer> offers;
  offers.reserve(instances.size());
  for (const Instance& instance : instances) offers.push_back(MatchOne(effective_spec, instance));
  // Whole hosts before divided ones, then the smallest share, then by name: the same order in every
  // plan.
  std::stable_sort(offers.begin(), offers.end(), [](const Offer& a, const Offer& b) {
    return std::make_tuple(Rank(a),
                           a.price_dollars_per_hour(),
                           a.total_blocks(),
                           a.blocks(),
                           a.instance_name()) < std::make_tuple(Rank(b),
                                                                b.price_dollars_per_hour(),
                                                                b.total_blocks(),
                                                                b.blocks(),
                                                                b.instance_name());
  });
  return offers;
}

SchedulerDecision Schedule(const SchedulerSnapshot& snapshot) {
  SchedulerDecision decision;
  std::map<std::string, std::vector<Instance>> by_project;
  for (const Instance& instance : snapshot.instances)
    by_project[instance.project_id.str()].push_back(instance);
  // Hosts kept free for a job that waits in front: without it a stream of small jobs would starve a
  // large one for ever.
  std::set<std::string> reserved;
  for (const WaitingJob& waiting : snapshot.jobs) {
    std::vector<Instance>& instances = by_project[waiting.job.project_id.str()];
    const std::vector<Offer> offers = MatchInstances(waiting.run.spec, instances);
    const auto usable = std::find_if(offers.begin(), offers.end(), [&](const Offer& offer) {
      return offer.availability() == api::v1::OFFER_AVAILABILITY_IDLE &&
             reserved.count(offer.instance_id()) == 0;
    });
    if (usable != offers.end()) {
      decision.assignments.push_back(
          {waiting.job.id, InstanceId(usable->instance_id()), usable->blocks(), *usable});
      for (Instance& instance : instances) {
        if (instance.id.str() == usable->instance_id()) instance.busy_blocks += usable->blocks();
      }
      continue;
    }
    const auto could = std::find_if(
        offers.begin(), offers.end(), [](const Offer& offer) { return Rank(offer) < 2; });
    if (could == offers.end()) {
      decision.failures.push_back(
          {waiting.job.id,
           api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY,
           NoCapacityMessage(offers)});
    } else if (could->availability() == api::v1::OFFER_AVAILABILITY_BUSY) {
      reserved.insert(could->instance_id());
    }
  }
  return decision;
}

}  // namespace dstack::server
