#include "services/server/domain/offer/schedule.h"

#include <map>
#include <set>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "services/server/domain/offer/match.h"

namespace dstack::server {
namespace {

std::string NoCapacityMessage(const WaitingJob& waiting, const std::vector<Instance>& instances) {
  if (instances.empty())
    return "no fleets: the project has no fleet with hosts; create one with `dstack apply`";
  const Matches matches =
      MatchInstances(waiting.run.spec, instances, {.max_offers = 0, .fleet = waiting.run.fleet_id});
  constexpr std::size_t kMaxReasons = 3;
  std::vector<std::string> parts;
  std::uint32_t hosts_left = matches.total_offers;
  for (const UnavailableHosts& hosts : matches.unavailable_hosts) {
    if (parts.size() == kMaxReasons) break;
    parts.push_back(DescribeUnavailable(hosts));
    hosts_left -= hosts.host_count;
  }
  if (hosts_left > 0) parts.push_back(fmt::format("{} more for other reasons", hosts_left));
  return "no host fits: " + absl::StrJoin(parts, "; ");
}

// Makes the decisions one after the other; each sees what the ones before took.
class Decider {
 public:
  explicit Decider(const std::vector<Instance>& instances) {
    for (const Instance& instance : instances)
      by_project_[instance.project_id.str()].push_back(instance);
  }

  void Decide(const WaitingJob& waiting) {
    std::vector<Instance>& instances = by_project_[waiting.job.project_id.str()];
    Instance* free = nullptr;
    Instance* busy = nullptr;
    Candidate best_free;
    Candidate best_busy;
    bool is_kept_waiting = false;  // by a job in front, from a host that would do
    for (Instance& instance : instances) {
      const Candidate candidate = Judge(waiting.run.spec, waiting.run.fleet_id, instance);
      if (candidate.standing == Candidate::Standing::kUnfit) continue;
      const bool is_free = candidate.standing == Candidate::Standing::kFree;
      if (is_free && reserved_.count(instance.id) > 0) {
        is_kept_waiting = true;
        continue;
      }
      Instance*& host = is_free ? free : busy;
      Candidate& best = is_free ? best_free : best_busy;
      if (host != nullptr && !ComesFirst(instance, candidate, *host, best)) continue;
      host = &instance;
      best = candidate;
    }
    if (free != nullptr) {
      decision_.assignments.push_back(
          {waiting.job.id, free->id, best_free.blocks, MakeOffer(*free, best_free)});
      free->busy_blocks += best_free.blocks;
    } else if (is_kept_waiting) {
      return;
    } else if (busy != nullptr) {
      reserved_.insert(busy->id);
    } else {
      decision_.failures.push_back(
          {waiting.job.id,
           api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY,
           NoCapacityMessage(waiting, instances)});
    }
  }

  SchedulerDecision Take() { return std::move(decision_); }

 private:
  std::map<std::string, std::vector<Instance>> by_project_;
  // Hosts kept free for a job that waits in front: without it a stream of small jobs would starve a
  // large one for ever.
  std::set<InstanceId> reserved_;
  SchedulerDecision decision_;
};

}  // namespace

SchedulerDecision Schedule(const SchedulerSnapshot& snapshot) {
  Decider decider(snapshot.instances);
  for (const WaitingJob& waiting : snapshot.jobs) decider.Decide(waiting);
  return decider.Take();
}

}  // namespace dstack::server
