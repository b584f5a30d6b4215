#include "clients/cli/render/plan_screen.h"

#include <algorithm>

#include <fmt/format.h>

#include "clients/cli/render/fleet_table.h"
#include "clients/cli/render/text.h"
#include "libs/config/format.h"

namespace dstack::cli {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;
using config::v1::ProfileParams;
using config::v1::RunConfiguration;

std::string TypeText(const RunConfiguration& run) {
  if (run.has_dev_environment()) return "dev-environment";
  if (run.has_service()) return "service";
  const int nodes = std::max(run.task().nodes(), 1);
  return nodes > 1 ? fmt::format("task (nodes={})", nodes) : "task";
}

std::string DurationText(const config::v1::OffableDuration& duration,
                         const char* when_off,
                         const char* when_unset) {
  if (duration.off()) return when_off;
  return duration.has_duration() ? config::FormatDuration(duration) : when_unset;
}

void AddOptionalRows(const RunConfiguration& run, bool is_verbose, Rows* rows) {
  const ProfileParams& profile = run.profile();
  const bool reuses = profile.creation_policy() == config::v1::CREATION_POLICY_REUSE;
  if (reuses || is_verbose) {
    rows->emplace_back("Creation policy", reuses ? "reuse" : "reuse-or-create");
  }
  rows->emplace_back("Idle duration", DurationText(profile.idle_duration(), "-", "5m"));
  rows->emplace_back("Max duration", DurationText(profile.max_duration(), "off", "off"));
  if (run.has_dev_environment()) {
    const auto& environment = run.dev_environment();
    rows->emplace_back("Inactivity duration",
                       environment.has_inactivity_duration()
                           ? config::FormatDuration(environment.inactivity_duration())
                           : "off");
  }
  if (profile.has_reservation() || is_verbose) {
    rows->emplace_back("Reservation", profile.has_reservation() ? profile.reservation() : "no");
  }
}

Rows RunHeader(const api::v1::RunPlan& plan, bool is_verbose) {
  const RunConfiguration& run = plan.effective_run_spec().configuration();
  const ProfileParams& profile = run.profile();
  Rows rows{{"Project", plan.project_name()},
            {"User", plan.user_name()},
            {"Type", TypeText(run)},
            {"Resources", FormatRequested(run.resources())},
            {"Spot policy", config::FormatSpotPolicy(profile.spot_policy())},
            {"Max price", profile.has_max_price() ? FormatPrice(profile.max_price()) : "off"},
            {"Retry policy", config::FormatRetry(profile)}};
  AddOptionalRows(run, is_verbose, &rows);
  return rows;
}

std::string AvailabilityText(const api::v1::Offer& offer) {
  switch (offer.availability()) {
    case api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE:
      return "not available";
    case api::v1::OFFER_AVAILABILITY_IDLE:
      return "idle";
    case api::v1::OFFER_AVAILABILITY_BUSY:
      return "busy";
    default:
      return "";
  }
}

// Own hosts have names and no types.
std::string InstanceTypeText(const api::v1::Offer& offer) {
  std::string type = offer.instance_type().empty() ? "-" : offer.instance_type();
  if (offer.backend() == "ssh" && !offer.instance_name().empty()) type = offer.instance_name();
  if (offer.total_blocks() <= 1) return type;
  return fmt::format("{} ({}/{})", type, offer.blocks(), offer.total_blocks());
}

std::string OffersTable(const api::v1::JobPlan& job, size_t max_offers, const Screen& screen) {
  Table table(
      {{"#"}, {"BACKEND", true}, {"RESOURCES", true}, {"INSTANCE TYPE", true}, {"PRICE"}, {""}});
  const size_t count = std::min<size_t>(static_cast<size_t>(job.offers_size()), max_offers);
  for (size_t i = 0; i < count; ++i) {
    const api::v1::Offer& offer = job.offers(static_cast<int>(i));
    const Style style = i == 0 ? Style::kPlain : Style::kSecondary;
    table.AddRow({{fmt::format("{}", i + 1), style},
                  {FormatBackend(offer.backend(), offer.region()), style},
                  {FormatHardware(offer.resources()), style},
                  {InstanceTypeText(offer), style},
                  {FormatPrice(offer.price_dollars_per_hour()), style},
                  {AvailabilityText(offer), style}});
  }
  const bool has_more = job.total_offers() > count;
  if (has_more) table.AddRow({{""}, {"...", Style::kSecondary}});
  std::string text = table.Render(screen);
  if (has_more) {
    text += Paint(fmt::format(" Shown {} of {} offers, {} max",
                              count,
                              job.total_offers(),
                              FormatPrice(job.max_price_dollars_per_hour())),
                  Style::kSecondary,
                  screen.has_color) +
            "\n";
  }
  return text;
}

std::string Notice(std::string_view text, Style style, const Screen& screen) {
  return Paint(text, style, screen.has_color) + "\n";
}

bool HasFreeOffer(const api::v1::JobPlan& job) {
  return std::any_of(job.offers().begin(), job.offers().end(), [](const api::v1::Offer& offer) {
    return offer.availability() != api::v1::OFFER_AVAILABILITY_BUSY &&
           offer.availability() != api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE;
  });
}

std::string HostsText(const api::v1::UnavailableHosts& hosts) {
  std::string names;
  for (const std::string& name : hosts.instance_names())
    names += (names.empty() ? "" : ", ") + name;
  const auto shown = static_cast<uint32_t>(hosts.instance_names_size());
  if (hosts.host_count() > shown) names += fmt::format(" and {} more", hosts.host_count() - shown);
  return Neutralise(fmt::format("{}: {}", names, hosts.reason()));
}

// Why hosts cannot take the job now. A person who has a free host needs no long story.
std::string UnavailableText(const api::v1::JobPlan& job, bool is_verbose, const Screen& screen) {
  constexpr int kShortStory = 3;
  const int count = job.unavailable_hosts_size();
  if (count == 0) return "";
  const bool is_long = is_verbose || !HasFreeOffer(job);
  const int shown = is_long ? count : std::min(count, kShortStory);
  std::string text = " Not available now:\n";
  for (int i = 0; i < shown; ++i) {
    text += Wrap(HostsText(job.unavailable_hosts(i)),
                 static_cast<size_t>(std::max(screen.width, 0)),
                 "   ",
                 "     ");
  }
  if (shown < count) text += "   ... (-v shows all)\n";
  text.pop_back();
  return Paint(text, Style::kSecondary, screen.has_color) + "\n";
}

std::string NothingFreeText(const api::v1::JobPlan& job, const Screen& screen) {
  const bool is_waiting =
      std::any_of(job.offers().begin(), job.offers().end(), [](const api::v1::Offer& offer) {
        return offer.availability() == api::v1::OFFER_AVAILABILITY_BUSY;
      });
  return Notice(is_waiting ? "No host is free now: the run waits for one"
                           : "No host fits: the run fails, unless its retry policy lets it wait",
                Style::kWarning,
                screen);
}

// The header of backend fleets alone.
void AddBackendFleetRows(const config::v1::FleetConfiguration& fleet, Rows* rows) {
  const auto joined = [](const auto& values) {
    std::string text;
    for (const std::string& value : values) text += (text.empty() ? "" : ", ") + value;
    return text.empty() ? std::string("*") : text;
  };
  rows->emplace_back("Backends", joined(fleet.profile().backends()));
  rows->emplace_back("Regions", joined(fleet.profile().regions()));
  rows->emplace_back("Resources", FormatRequested(fleet.resources()));
  rows->emplace_back("Spot policy", config::FormatSpotPolicy(fleet.profile().spot_policy()));
}

}  // namespace

std::string KeyValueBlock(const Rows& rows, const Screen& screen) {
  size_t width = 0;
  for (const auto& [key, value] : rows) width = std::max(width, DisplayWidth(key));
  std::string text;
  for (const auto& [key, value] : rows) {
    text += " " + Paint(key, Style::kBold, screen.has_color);
    text += std::string(width - DisplayWidth(key) + 2, ' ') + Neutralise(value) + "\n";
  }
  return text;
}

std::string RunPlanScreen(const api::v1::RunPlan& plan,
                          bool is_verbose,
                          size_t max_offers,
                          const Screen& screen) {
  std::string text = KeyValueBlock(RunHeader(plan, is_verbose), screen) + "\n";
  if (plan.has_no_fleets()) {
    return text + Notice(
                      "The project has no fleets. Create one before submitting a run:\n"
                      "dstack apply -f fleet.dstack.yml",
                      Style::kError,
                      screen);
  }
  const bool has_offers = plan.job_plans_size() > 0 && plan.job_plans(0).offers_size() > 0;
  if (has_offers) {
    const api::v1::JobPlan& job = plan.job_plans(0);
    text += OffersTable(job, max_offers, screen) + UnavailableText(job, is_verbose, screen);
    return HasFreeOffer(job) ? text : text + NothingFreeText(job, screen);
  }
  return text + Notice(
                    "No matching instance offers available. The run waits or fails, as its retry "
                    "policy says",
                    Style::kWarning,
                    screen);
}

std::string FleetPlanScreen(const api::v1::FleetPlan& plan, const Screen& screen) {
  const auto& fleet = plan.effective_fleet_spec().configuration();
  Rows rows{{"Project", plan.project_name()},
            {"User", plan.user_name()},
            {"Configuration", plan.effective_fleet_spec().configuration_path()},
            {"Type", "fleet"},
            {"Fleet type", fleet.has_ssh_config() ? "ssh" : "cloud"},
            {"Nodes", FleetNodesText(fleet)}};
  if (fleet.placement() == config::v1::PLACEMENT_CLUSTER) rows.emplace_back("Placement", "cluster");
  if (!fleet.has_ssh_config()) AddBackendFleetRows(fleet, &rows);
  return KeyValueBlock(rows, screen);
}

std::string ChangesText(const google::protobuf::RepeatedPtrField<api::v1::FieldChange>& changes,
                        const google::protobuf::RepeatedPtrField<std::string>& fields,
                        const Screen& screen) {
  const auto width = static_cast<size_t>(std::max(screen.width, 0));
  std::string text;
  if (changes.empty()) {
    for (const std::string& field : fields) text += " - " + Neutralise(field) + "\n";
  }
  for (const api::v1::FieldChange& change : changes) {
    const bool has_current = !change.current().empty();
    const bool has_wanted = !change.wanted().empty();
    const char* mark = has_current == has_wanted ? " ~ " : has_wanted ? " + " : " - ";
    std::string line = change.path();
    if (has_current || has_wanted) line += ": " + change.current();
    if (has_current && has_wanted) line += " -> ";
    line += change.wanted();
    text += Wrap(Neutralise(line), width, mark, "     ");
  }
  return text;
}

std::string FormatRequested(const config::v1::Resources& resources) {
  const std::string text = config::FormatResources(resources);
  return text.empty() ? "any" : text;
}

}  // namespace dstack::cli
