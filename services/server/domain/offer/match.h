#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "dstack/api/v1/run.pb.h"

#include "services/server/domain/instance/instance.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// Existing hosts for a run. Pure; plan and scheduler ask the same functions, so a plan never lies.

// How one host stands to a run.
struct Candidate {
  enum class Standing {
    kFree,   // can take a job now
    kBusy,   // could, once others have left or the host is ready
    kUnfit,  // never
  };
  Standing standing = Standing::kUnfit;
  // The smallest number of blocks that suffices; 0 where that is not known.
  std::uint32_t blocks = 0;
};

// `fleet`: the only one whose hosts count, absent: any (a run stays in the fleet that it began in).
// `why`, if given, gets the words that follow the host's name where it is not free: "needs 2 GPUs,
// 1 free".
Candidate Judge(const api::v1::RunSpec& effective_spec,
                const std::optional<FleetId>& fleet,
                const Instance& instance,
                std::string* why = nullptr);

// The order of offers: free hosts before busy ones before those that do not fit; within them whole
// hosts before divided ones, then the smallest share, then by fleet and number.
bool ComesFirst(const Instance& a,
                const Candidate& a_candidate,
                const Instance& b,
                const Candidate& b_candidate);

// What offers tell about a host.
enum class OfferExtent {
  kRequested,  // the share that a job would take
  kWhole,      // the whole host
  kFree,       // what is free of it
};

api::v1::Offer MakeOffer(const Instance& instance,
                         const Candidate& candidate,
                         OfferExtent extent = OfferExtent::kRequested);

// Hosts that cannot take the run now, all for the same reason.
struct UnavailableHosts {
  std::string reason;
  std::uint32_t host_count = 0;
  std::vector<std::string> instance_names;  // the first few
};

struct MatchOptions {
  // Offers that are made.
  std::size_t max_offers = std::numeric_limits<std::size_t>::max();
  OfferExtent extent = OfferExtent::kRequested;
  // Reasons that are told, and names for each of them.
  std::size_t max_reasons = 10;
  std::size_t max_names = 3;
  std::optional<FleetId> fleet;
};

struct Matches {
  // Best first. Those that are not free say why.
  std::vector<api::v1::Offer> offers;
  std::uint32_t total_offers = 0;
  double max_price_dollars_per_hour = 0;
  // In the order in which the hosts would come as offers.
  std::vector<UnavailableHosts> unavailable_hosts;
};

Matches MatchInstances(const api::v1::RunSpec& effective_spec,
                       const std::vector<Instance>& instances,
                       const MatchOptions& options = {});

// "fleet-0, fleet-1 and 3 more: needs 2 GPUs, has 1".
std::string DescribeUnavailable(const UnavailableHosts& hosts);

}  // namespace dstack::server
