// YAML text as a sequence of events: libyaml, with its complaints in words for people who do not
// know it.
#pragma once

#include <memory>
#include <string_view>

#include "libs/config/node.h"
#include "libs/config/problem.h"

namespace dstack::config {

struct YamlEvent {
  enum class Kind { kDocument, kAlias, kScalar, kList, kMap, kClose, kEnd };

  Kind kind = Kind::kEnd;
  Mark mark;
  // Valid until the next event.
  std::string_view anchor;  // of a value, or the one that an alias refers to; empty: none
  std::string_view tag;     // in its long form; empty: none
  std::string_view value;   // scalars
  bool is_plain = false;    // scalars: without quotes
};

// Not thread-safe. Needs memory for the longest scalar alone and does not recurse, so that nesting
// is the caller's to bound.
class YamlParser {
 public:
  // `text` outlives the parser; UTF-8 with plain line ends.
  explicit YamlParser(std::string_view text);
  ~YamlParser();
  YamlParser(const YamlParser&) = delete;
  YamlParser& operator=(const YamlParser&) = delete;

  // The next event; kEnd is the last one. False where the text is no YAML: problem() tells why.
  bool Next(YamlEvent* event);

  // Without the name of the file.
  Problem problem() const;

 private:
  struct State;

  std::string_view text_;
  std::unique_ptr<State> state_;
};

}  // namespace dstack::config
