#include "services/server/domain/spec/names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "fmt/format.h"

namespace dstack::server {

std::string EnumWord(std::string_view value_name, std::string_view prefix) {
  std::string word(value_name);
  if (value_name.substr(0, prefix.size()) == prefix) word.erase(0, prefix.size());
  absl::AsciiStrToLower(&word);
  return word;
}

std::string JobName(std::string_view run_name, unsigned job_num, unsigned replica_num) {
  return fmt::format("{}-{}-{}", run_name, job_num, replica_num);
}

}  // namespace dstack::server
