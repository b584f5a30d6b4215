// The canonical form of configurations (spec 12.7: sizes in GB, durations in seconds, ranges as
// {min, max}) for comparison with the vectors in tests/fixtures/vectors. Test support.
#pragma once

#include <string>

#include <google/protobuf/message.h>
#include <nlohmann/json.hpp>

namespace dstack::config {

nlohmann::json CanonicalJson(const google::protobuf::Message& message);

// Empty where `expected` is contained in `actual`: the keys of mappings match, lists have the same
// length. Else the path of the first difference, with both values.
std::string Difference(const nlohmann::json& expected,
                       const nlohmann::json& actual,
                       const std::string& path = "");

}  // namespace dstack::config
