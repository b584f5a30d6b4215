#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace dstack::server {

// Opaque page tokens: where the next page starts, as the key of the last row of this one, so that
// rows that come or go meanwhile do not shift the pages.
std::string EncodePageToken(const std::vector<std::string>& key);

// INVALID_ARGUMENT/INVALID_PAGE_TOKEN unless `token` was made of `parts` parts.
absl::StatusOr<std::vector<std::string>> DecodePageToken(const std::string& token,
                                                         std::size_t parts);

}  // namespace dstack::server
