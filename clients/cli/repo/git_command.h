// The git program of this machine.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::cli {

struct GitOutput {
  int status = 0;  // 128 + n after signal n
  std::string out;
  std::string errors;
};

// Runs git with these arguments in `directory`, with `variables` on top of our environment. It asks
// nothing. An unsuccessful end is no error; NOT_FOUND: there is no git.
absl::StatusOr<GitOutput> RunGit(const std::string& directory,
                                 const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& variables = {},
                                 std::chrono::seconds timeout = std::chrono::seconds(120));

// RunGit, with an unsuccessful end as error that quotes git. Without the last line end.
absl::StatusOr<std::string> GitLine(const std::string& directory,
                                    const std::vector<std::string>& arguments,
                                    const std::map<std::string, std::string>& variables = {});

}  // namespace dstack::cli
