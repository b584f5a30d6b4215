#include "services/server/usecases/names_list.h"

#include <set>

#include "fmt/format.h"
#include "libs/base/status.h"

namespace dstack::server {

absl::StatusOr<std::vector<std::string>> CheckNames(const std::string& field,
                                                    const std::vector<std::string>& names) {
  constexpr std::size_t kMaxNames = 100;
  if (names.empty() || names.size() > kMaxNames) {
    return base::InvalidField(
        field, fmt::format("must have 1 to {} names; it has {}", kMaxNames, names.size()));
  }
  std::vector<base::FieldViolation> violations;
  std::vector<std::string> result;
  std::set<std::string> seen;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty())
      violations.push_back({fmt::format("{}[{}]", field, i), "must not be empty", ""});
    if (seen.insert(names[i]).second) result.push_back(names[i]);
  }
  RETURN_IF_ERROR(base::InvalidFields(violations));
  return result;
}

}  // namespace dstack::server
