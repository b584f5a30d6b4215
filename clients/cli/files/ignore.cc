#include "clients/cli/files/ignore.h"

#include <utility>

#include <fnmatch.h>

namespace dstack::cli {
namespace {

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    if (slash != 0) parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

// Matches components from the given positions on; `**` stands for any number of them. A trailing
// `**` needs at least one, as in git.
bool MatchFrom(const std::vector<std::string>& pattern,
               size_t p,
               const std::vector<std::string>& path,
               size_t i) {
  if (p == pattern.size()) return i == path.size();
  if (pattern[p] == "**") {
    const size_t least = p + 1 == pattern.size() ? 1 : 0;
    for (size_t skip = least; i + skip <= path.size(); ++skip) {
      if (MatchFrom(pattern, p + 1, path, i + skip)) return true;
    }
    return false;
  }
  if (i == path.size()) return false;
  if (fnmatch(pattern[p].c_str(), path[i].c_str(), 0) != 0) return false;
  return MatchFrom(pattern, p + 1, path, i + 1);
}

std::string_view WithoutTrailingBlanks(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  while (!line.empty() && line.back() == ' ' &&
         (line.size() < 2 || line[line.size() - 2] != '\\')) {
    line.remove_suffix(1);
  }
  return line;
}

}  // namespace

void IgnoreRules::AddFile(const std::string& directory, std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = WithoutTrailingBlanks(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line[0] == '#') continue;
    Rule rule{.directory = directory};
    if (line[0] == '!') {
      rule.is_negated = true;
      line.remove_prefix(1);
    } else if (line[0] == '\\' && line.size() > 1 && (line[1] == '#' || line[1] == '!')) {
      line.remove_prefix(1);
    }
    if (!line.empty() && line.back() == '/') {
      rule.only_directories = true;
      line.remove_suffix(1);
    }
    rule.is_anchored = line.find('/') != std::string_view::npos;
    rule.pattern = SplitPath(line);
    if (!rule.pattern.empty()) rules_.push_back(std::move(rule));
  }
}

bool IgnoreRules::Matches(const Rule& rule, const std::string& path, bool is_directory) {
  if (rule.only_directories && !is_directory) return false;
  std::string_view below = path;
  if (!rule.directory.empty()) {
    const std::string prefix = rule.directory + "/";
    if (below.substr(0, prefix.size()) != prefix) return false;
    below.remove_prefix(prefix.size());
  }
  const std::vector<std::string> parts = SplitPath(below);
  if (parts.empty()) return false;
  if (!rule.is_anchored) return MatchFrom(rule.pattern, 0, {parts.back()}, 0);
  return MatchFrom(rule.pattern, 0, parts, 0);
}

bool IgnoreRules::IsIgnored(const std::string& path, bool is_directory) const {
  const size_t slash = path.rfind('/');
  if (path.substr(slash == std::string::npos ? 0 : slash + 1) == ".git") return true;
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (Matches(*rule, path, is_directory)) return !rule->is_negated;
  }
  return false;
}

}  // namespace dstack::cli
