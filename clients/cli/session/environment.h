// The process's surroundings, read once at start and passed on as values.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace dstack::cli {

struct Environment {
  std::map<std::string, std::string> variables;
  // Home directory of the user; empty if there is none.
  std::string home;
  // Directory that relative paths start from.
  std::string working_directory;

  static Environment FromProcess();

  // The variable, if it is set and not empty.
  std::optional<std::string> Get(const std::string& name) const;

  // Where the client keeps its files: $DSTACK_HOME, else ~/.dstack.
  std::string DstackHome() const;

  // The path with "~" and "~/..." replaced by the home directory, relative to `base_directory`
  // unless absolute.
  std::string ResolvePath(const std::string& path, const std::string& base_directory) const;
};

}  // namespace dstack::cli
