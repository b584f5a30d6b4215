#pragma once

#include <string>
#include <vector>

#include "libs/base/random.h"

namespace dstack::server {

// "wet-mongoose": an adjective and an animal of 3 to 11 letters each.
std::string RandomPair(base::Random& random);

// "<pair>-N" with the lowest N from 1 on that is not in `taken`.
std::string LowestFreeName(const std::string& pair, const std::vector<std::string>& taken);

}  // namespace dstack::server
