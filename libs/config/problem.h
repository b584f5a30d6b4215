// What is wrong with a document, and how that is told to its author.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "libs/config/node.h"

namespace dstack::config {

// One thing that is wrong (or, as a warning, doubtful) in a document.
struct Problem {
  std::string file;
  Mark mark;               // zero where the place is unknown
  std::string path;        // as in the document, such as `resources.gpu.count` or `ports[0]`
  std::string value;       // offending text, one line, bounded; empty where secret or useless
  std::string rule;        // what is asked for, in words that follow the path
  std::string suggestion;  // "did you mean `commands`?"; may be empty
  bool is_secret = false;  // the source line must not be shown
  // Of the source line only the key at `mark` is shown: its value may be secret.
  bool is_key_only = false;
};

// `file:line:column: path: rule (value); suggestion`. Parts that are unknown are left out.
std::string FormatProblem(const Problem& problem);

// The same, with the line of the source and a caret below the place, and what to do beside the
// caret. `source` is the whole
// text of the document. Lines that could hold a secret are left out.
std::string FormatProblemWithSource(const Problem& problem, std::string_view source);

// One paragraph per problem, made by FormatProblemWithSource; of very many the first ones.
std::string FormatProblems(const std::vector<Problem>& problems, std::string_view source);

// INVALID_ARGUMENT with all problems: a BadRequest payload with the paths, and the message of
// FormatProblems. `problems` is not empty.
absl::Status ProblemsToStatus(const std::vector<Problem>& problems, std::string_view source);

// "a.b", or "b" where `parent` is empty.
std::string ChildPath(std::string_view parent, std::string_view key);
// "a[3]".
std::string ItemPath(std::string_view parent, size_t index);
// True where one path lies within the other, or both are the same.
bool PathsOverlap(std::string_view a, std::string_view b);

}  // namespace dstack::config
