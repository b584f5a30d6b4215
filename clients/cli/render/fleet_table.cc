#include "clients/cli/render/fleet_table.h"

#include <utility>

#include <fmt/format.h>

#include "clients/cli/render/enum_word.h"
#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

using api::v1::Fleet;
using api::v1::Instance;

std::string FleetBackend(const Fleet& fleet) {
  const auto& configuration = fleet.spec().configuration();
  if (configuration.has_ssh_config()) return "ssh";
  std::string names;
  for (const std::string& backend : configuration.profile().backends()) {
    names += names.empty() ? backend : ", " + backend;
  }
  return names.empty() ? "*" : names;
}

std::string FleetSpot(const Fleet& fleet) {
  if (fleet.spec().configuration().has_ssh_config()) return "-";
  switch (fleet.spec().configuration().profile().spot_policy()) {
    case config::v1::SPOT_POLICY_SPOT:
      return "spot";
    case config::v1::SPOT_POLICY_AUTO:
      return "auto";
    default:
      return "on-demand";
  }
}

std::string FleetPrice(const Fleet& fleet) {
  const auto& profile = fleet.spec().configuration().profile();
  return profile.has_max_price() ? "$0.." + FormatPrice(profile.max_price()).substr(1) : "-";
}

std::string NodesText(const Fleet& fleet, bool is_verbose) {
  const auto& configuration = fleet.spec().configuration();
  std::string text = FleetNodesText(configuration);
  if (is_verbose && configuration.placement() == config::v1::PLACEMENT_CLUSTER) {
    text += " (cluster)";
  }
  return text;
}

std::string DriverText(const Instance& instance) {
  for (const auto& gpu : instance.resources().gpus()) {
    if (!gpu.driver_version().empty()) return gpu.driver_version();
  }
  return "-";
}

std::string ReasonText(const Instance& instance) {
  if (!instance.status_message().empty()) return instance.status_message();
  if (!instance.health_message().empty()) return instance.health_message();
  if (instance.has_drain()) return "draining: " + instance.drain().reason();
  if (instance.termination_reason() == api::v1::INSTANCE_TERMINATION_REASON_UNSPECIFIED) return "";
  return EnumWord(api::v1::InstanceTerminationReason_Name(instance.termination_reason()),
                  "INSTANCE_TERMINATION_REASON_");
}

void AddFleet(const Fleet& fleet, const FleetTableOptions& options, Table* table) {
  const std::string status = EnumWord(api::v1::FleetStatus_Name(fleet.status()), "FLEET_STATUS_");
  std::vector<Cell> row{{fleet.name(), Style::kBold}, {NodesText(fleet, options.is_verbose)}};
  row.push_back({"-", Style::kSecondary});
  if (options.is_verbose) row.push_back({"-", Style::kSecondary});
  row.push_back({FleetSpot(fleet)});
  row.push_back({FleetBackend(fleet)});
  row.push_back({FleetPrice(fleet)});
  row.push_back({status, StatusStyle(status)});
  row.push_back({RelativeDate(ToWallTime(fleet.created_at()), options.now), Style::kSecondary});
  if (options.is_verbose) row.push_back({fleet.status_message(), Style::kFailed});
  table->AddRow(std::move(row));
}

void AddInstance(const Instance& instance, const FleetTableOptions& options, Table* table) {
  const bool is_known = instance.has_resources();
  std::vector<Cell> row{{fmt::format("   instance={}", instance.instance_num())}, {""}};
  if (options.is_verbose) {
    row.push_back({is_known ? FormatHardware(instance.resources()) : "-"});
    row.push_back({is_known ? DriverText(instance) : "-"});
  } else {
    row.push_back({is_known ? FormatGpus(instance.resources()) : "-"});
  }
  const std::string status = InstanceStatusText(instance);
  row.push_back({"on-demand"});
  row.push_back({FormatBackend(instance.backend(), instance.region())});
  row.push_back({FormatPrice(instance.price_dollars_per_hour())});
  row.push_back({status, StatusStyle(status)});
  row.push_back({RelativeDate(ToWallTime(instance.created_at()), options.now), Style::kSecondary});
  if (options.is_verbose) row.push_back({ReasonText(instance), Style::kFailed});
  table->AddRow(std::move(row));
}

}  // namespace

Table FleetTable(const std::vector<Fleet>& fleets, const FleetTableOptions& options) {
  std::vector<Column> columns{{"NAME"}, {"NODES"}};
  if (options.is_verbose) {
    columns.push_back({"RESOURCES", true});
    columns.push_back({"DRIVER", true});
  } else {
    columns.push_back({"GPU", true});
  }
  for (const char* title : {"SPOT", "BACKEND", "PRICE", "STATUS", "CREATED"}) {
    columns.push_back({title});
  }
  if (options.is_verbose) columns.push_back({"ERROR", true});
  Table table(std::move(columns));
  for (const Fleet& fleet : fleets) {
    AddFleet(fleet, options, &table);
    for (const Instance& instance : fleet.instances()) AddInstance(instance, options, &table);
  }
  return table;
}

std::string InstanceStatusText(const Instance& instance) {
  std::string text = EnumWord(api::v1::InstanceStatus_Name(instance.status()), "INSTANCE_STATUS_");
  const bool is_shared = instance.total_blocks() > 1 && instance.busy_blocks() > 0;
  if (instance.status() == api::v1::INSTANCE_STATUS_BUSY && is_shared) {
    text = fmt::format("{}/{} busy", instance.busy_blocks(), instance.total_blocks());
  }
  if (instance.is_unreachable()) return text + " (unreachable)";
  if (instance.has_drain())
    return text + (instance.drain().is_empty() ? " (drained)" : " (draining)");
  if (instance.health() == common::v1::HEALTH_STATUS_WARNING) return text + " (warning)";
  if (instance.health() == common::v1::HEALTH_STATUS_FAILURE) return text + " (failure)";
  return text;
}

std::string FleetNodesText(const config::v1::FleetConfiguration& configuration) {
  if (configuration.has_ssh_config()) {
    return fmt::format("{}", configuration.ssh_config().hosts_size());
  }
  const auto& nodes = configuration.nodes();
  if (!nodes.has_max()) return fmt::format("{}..", nodes.min());
  if (nodes.max() == nodes.min()) return fmt::format("{}", nodes.min());
  return fmt::format("{}..{}", nodes.min(), nodes.max());
}

}  // namespace dstack::cli
