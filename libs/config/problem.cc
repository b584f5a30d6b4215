#include "libs/config/problem.h"

#include <algorithm>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/config/secret_text.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kSourceLineBytes = 160;
constexpr size_t kNarrowScreen = 80;
// A document with thousands of faults is better told by its first ones.
constexpr size_t kMostProblemsShown = 50;

std::string_view LineOf(std::string_view source, int line) {
  for (int i = 1; i < line; ++i) {
    const size_t end = source.find('\n');
    if (end == std::string_view::npos) return {};
    source.remove_prefix(end + 1);
  }
  std::string_view text = source.substr(0, source.find('\n'));
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  return text;
}

bool IsWithin(std::string_view inner, std::string_view outer) {
  if (!inner.starts_with(outer)) return false;
  if (inner.size() == outer.size() || outer.empty()) return true;
  return inner[outer.size()] == '.' || inner[outer.size()] == '[';
}

// What is wrong, without what to do about it.
std::string Fault(const Problem& problem) {
  std::string text = problem.rule;
  if (!problem.value.empty()) text += fmt::format(" ({})", problem.value);
  return text;
}

std::string Description(const Problem& problem) {
  std::string text = Fault(problem);
  if (!problem.suggestion.empty()) text += "; " + problem.suggestion;
  return text;
}

// `file:line:column: path: `, as far as known.
std::string Heading(const Problem& problem) {
  std::string text;
  if (!problem.file.empty()) text += Excerpt(problem.file) + ":";
  if (problem.mark.line > 0) text += fmt::format("{}:{}:", problem.mark.line, problem.mark.column);
  if (!text.empty()) text += ' ';
  if (!problem.path.empty()) text += problem.path + ": ";
  return text;
}

// The line up to the colon behind the key that begins at `caret`; empty where something else stands
// in front of it.
std::string_view UpToKey(std::string_view line, size_t caret) {
  if (line.substr(0, caret).find_first_not_of(" -{") != std::string_view::npos) return {};
  const bool is_quoted = caret < line.size() && (line[caret] == '"' || line[caret] == '\'');
  const size_t end = is_quoted ? line.find(line[caret], caret + 1) : caret;
  const size_t colon = line.find(':', std::min(end, line.size()));
  return colon == std::string_view::npos ? std::string_view() : line.substr(0, colon + 1);
}

// The line of the source that may be shown; empty where there is none.
std::string_view ShownLine(const Problem& problem, std::string_view source) {
  if (problem.is_secret || problem.mark.line <= 0) return {};
  const std::string_view line = LineOf(source, problem.mark.line);
  const auto caret = static_cast<size_t>(std::max(problem.mark.column - 1, 0));
  const bool is_fit = !TrimBlanks(line).empty() && line.size() <= kSourceLineBytes &&
                      caret <= line.size() && IsValidUtf8(line);
  if (!is_fit) return {};
  if (problem.is_key_only) return UpToKey(line, caret);
  // What belongs to no field is judged by its text.
  const bool is_hidden =
      problem.path.empty() ? MayHoldSecret(source, problem.mark.line) : LooksSecret(line);
  return is_hidden ? std::string_view() : line;
}

}  // namespace

std::string FormatProblem(const Problem& problem) {
  return Heading(problem) + Description(problem);
}

std::string FormatProblemWithSource(const Problem& problem, std::string_view source) {
  const std::string_view line = ShownLine(problem, source);
  if (line.empty()) return FormatProblem(problem);
  const std::string number = std::to_string(problem.mark.line);
  const std::string gutter(number.size(), ' ');
  std::string shown(line);
  if (problem.is_key_only) shown += " ...";
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  std::string text = Heading(problem) + Fault(problem);
  text += fmt::format("\n  {} | {}", number, shown);
  std::string pointer = fmt::format(
      "  {} | {}^", gutter, std::string(static_cast<size_t>(problem.mark.column - 1), ' '));
  // What to do stands beside the caret, or below it where a narrow screen would break the line.
  const bool fits = pointer.size() + 1 + problem.suggestion.size() <= kNarrowScreen;
  if (!problem.suggestion.empty()) {
    pointer +=
        fits ? " " + problem.suggestion : fmt::format("\n  {} = {}", gutter, problem.suggestion);
  }
  return text + "\n" + pointer;
}

std::string FormatProblems(const std::vector<Problem>& problems, std::string_view source) {
  std::string message;
  for (size_t i = 0; i < problems.size() && i < kMostProblemsShown; ++i) {
    if (i > 0) message += '\n';
    message += FormatProblemWithSource(problems[i], source);
  }
  if (problems.size() > kMostProblemsShown) {
    message += fmt::format("\nand {} more", problems.size() - kMostProblemsShown);
  }
  return message;
}

absl::Status ProblemsToStatus(const std::vector<Problem>& problems, std::string_view source) {
  std::vector<base::FieldViolation> violations;
  for (const Problem& problem : problems) {
    violations.push_back({.field = problem.path, .description = Description(problem)});
  }
  const absl::Status fields = base::InvalidFields(violations);
  absl::Status status(fields.code(), FormatProblems(problems, source));
  fields.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    status.SetPayload(type_url, payload);
  });
  return status;
}

std::string ChildPath(std::string_view parent, std::string_view key) {
  if (parent.empty()) return std::string(key);
  return fmt::format("{}.{}", parent, key);
}

std::string ItemPath(std::string_view parent, size_t index) {
  return fmt::format("{}[{}]", parent, index);
}

bool PathsOverlap(std::string_view a, std::string_view b) {
  return IsWithin(a, b) || IsWithin(b, a);
}

}  // namespace dstack::config
