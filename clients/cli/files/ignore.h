// Which files an archive leaves out: `.gitignore` and `.dstackignore`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dstack::cli {

// Rules of the ignore files from the root down to one directory. The usual patterns work: comments,
// `!` to take back, a slash at the end (directories alone) and at the start or in the middle
// (anchored to the directory of the file), `*`, `?`, `[...]`, `**`. Not read: `.git/info/exclude`
// and the user's global excludes. `.git` itself is always left out.
class IgnoreRules {
 public:
  // Adds the lines of an ignore file of `directory` (relative to the root of the archive, "" is the
  // root itself). Later rules win over earlier ones.
  void AddFile(const std::string& directory, std::string_view text);

  // True if `path` (relative to the root, "a/b") is left out. Parents are the caller's business:
  // what lies in a directory that is left out is not asked for.
  bool IsIgnored(const std::string& path, bool is_directory) const;

 private:
  struct Rule {
    std::string directory;
    std::vector<std::string> pattern;  // components
    bool is_negated = false;
    bool only_directories = false;
    bool is_anchored = false;
  };

  static bool Matches(const Rule& rule, const std::string& path, bool is_directory);

  std::vector<Rule> rules_;
};

}  // namespace dstack::cli
