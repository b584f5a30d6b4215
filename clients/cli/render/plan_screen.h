// What a person sees before a run or a fleet is applied.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dstack/api/v1/fleet.pb.h"
#include "dstack/api/v1/run.pb.h"

#include "clients/cli/render/table.h"

namespace dstack::cli {

// Key and value, one pair a line, values aligned. Values are made harmless.
std::string KeyValueBlock(const std::vector<std::pair<std::string, std::string>>& rows,
                          const Screen& screen);

// Header, offers of the first job, why hosts cannot take it now, and notices. `max_offers` rows of
// offers are shown.
std::string RunPlanScreen(const api::v1::RunPlan& plan,
                          bool is_verbose,
                          size_t max_offers,
                          const Screen& screen);

std::string FleetPlanScreen(const api::v1::FleetPlan& plan, const Screen& screen);

// The list of differences, one a line: "+ path: new", "- path: old", "~ path: old -> new". Only the
// paths of `fields` where the server does not tell more.
std::string ChangesText(const google::protobuf::RepeatedPtrField<api::v1::FieldChange>& changes,
                        const google::protobuf::RepeatedPtrField<std::string>& fields,
                        const Screen& screen);

// "cpu=2.. mem=8GB.. disk=100GB.. gpu=A100:80GB:2".
std::string FormatRequested(const config::v1::Resources& resources);

}  // namespace dstack::cli
