#include "libs/config/yaml_parser.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <yaml.h>

#include "libs/config/secret_text.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

Mark ToMark(const yaml_mark_t& mark) {
  return {static_cast<int>(mark.line) + 1, static_cast<int>(mark.column) + 1};
}

std::string_view View(const yaml_char_t* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

// Which of its two places the parser's complaint is about.
enum class Where { kFound, kBegun };

struct Saying {
  std::string_view context;  // what the parser was at; empty: whatever
  std::string_view problem;  // the beginning of its message
  Where where;
  const char* rule;
  const char* suggestion;
};

constexpr const char* kQuoteAlias = "put a text that begins with `*` in quotes";
constexpr const char* kQuoteAnchor = "put a text that begins with `&` in quotes";
constexpr const char* kQuoteTag = "put a text that begins with `!` in quotes";

// The first one that fits.
constexpr std::array kSayings = {
    Saying{"while scanning a simple key",
           "could not find expected ':'",
           Where::kBegun,
           "this line is neither `KEY: VALUE` nor a part of the value above it",
           "write `: ` behind a key, and begin the lines of a longer text in one column"},
    Saying{"",
           "did not find expected key",
           Where::kFound,
           "this line does not continue the mapping above it",
           "put the key below the first letter of the keys around it, and `: ` behind it"},
    Saying{"",
           "did not find expected '-' indicator",
           Where::kFound,
           "this line does not continue the list above it",
           "begin each element with `- `, all of them in the same column"},
    Saying{"",
           "did not find expected ',' or '}'",
           Where::kBegun,
           "this `{` is not closed by a `}`, or a `,` is missing",
           "put a `}` where the mapping ends, and a text with `{` in it in quotes"},
    Saying{"",
           "did not find expected ',' or ']'",
           Where::kBegun,
           "this `[` is not closed by a `]`, or a `,` is missing",
           "put a `]` where the list ends, and a text with `[` in it in quotes"},
    Saying{"",
           "mapping values are not allowed",
           Where::kFound,
           "`: ` cannot stand here",
           "put a text with `: ` in it in quotes, or a key of an inner mapping on the next line"},
    Saying{"",
           "block sequence entries are not allowed",
           Where::kFound,
           "`- ` cannot stand here",
           "put the list on the next line"},
    Saying{"",
           "mapping keys are not allowed",
           Where::kFound,
           "a key cannot stand here",
           "check the indentation"},
    Saying{"while scanning a quoted scalar",
           "found unexpected",
           Where::kBegun,
           "a quote is not closed",
           "put the same quote where the text ends"},
    Saying{"while parsing a quoted scalar",
           "found unknown escape character",
           Where::kFound,
           "this `\\` begins no known escape",
           "use single quotes, in which `\\` is an ordinary character"},
    Saying{"while parsing a quoted scalar",
           "",
           Where::kFound,
           "this `\\` begins no complete escape",
           "use single quotes, in which `\\` is an ordinary character"},
    Saying{"", "found a tab character", Where::kFound, "tabs cannot indent", "use spaces"},
    Saying{"while scanning an alias", "", Where::kBegun, "`*` begins an alias", kQuoteAlias},
    Saying{"while scanning an anchor", "", Where::kBegun, "`&` begins an anchor", kQuoteAnchor},
    Saying{"while scanning a tag", "", Where::kBegun, "`!` begins a tag", kQuoteTag},
    Saying{"while parsing a tag", "", Where::kBegun, "`!` begins a tag", kQuoteTag},
    Saying{"while parsing a node",
           "found undefined tag handle",
           Where::kBegun,
           "`!` begins a tag",
           kQuoteTag},
    Saying{"while scanning a block scalar",
           "",
           Where::kFound,
           "the text of a `|` or `>` begins on the line below",
           "put it there, indented, or the whole value in quotes"},
    Saying{"while scanning a directive",
           "",
           Where::kBegun,
           "`%` begins a directive",
           "put a text that begins with `%` in quotes"},
    Saying{"",
           "found character that cannot start any token",
           Where::kFound,
           "this character cannot begin a value",
           "put a text that begins with `@`, `%` or a backquote in quotes"},
    Saying{"",
           "did not find expected node content",
           Where::kFound,
           "a value is missing here",
           "put a text that begins with one of `[ ] { } ,` in quotes"},
    Saying{"",
           "did not find expected <document start>",
           Where::kFound,
           "this line does not belong to what is above it",
           "begin all keys of the document in the first column"},
};

const Saying* FindSaying(std::string_view context, std::string_view problem) {
  for (const Saying& saying : kSayings) {
    const bool is_at = saying.context.empty() || saying.context == context;
    if (is_at && problem.starts_with(saying.problem)) return &saying;
  }
  return nullptr;
}

// The line of a place, without its end.
std::string_view LineAt(std::string_view text, int line) {
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// The first tab in the indentation of this line or the one above: the parser complains later, and
// about something else.
std::optional<Mark> TabInIndentation(std::string_view text, int last_line) {
  const int first_line = std::max(1, last_line - 1);
  for (int line = first_line; line <= last_line; ++line) {
    const std::string_view indentation = LineAt(text, line);
    const size_t end = indentation.find_first_not_of(" \t");
    const size_t tab = indentation.substr(0, end).find('\t');
    if (tab != std::string_view::npos) return Mark{line, static_cast<int>(tab) + 1};
  }
  return std::nullopt;
}

// `name:train`, with nothing but that in the line.
std::string WithBlank(std::string_view line) {
  line = TrimBlanks(line);
  const size_t colon = line.find(':');
  constexpr size_t kMostBytes = 48;
  if (colon == std::string_view::npos || colon == 0 || line.size() > kMostBytes) return "";
  const std::string_view key = line.substr(0, colon);
  const bool is_key = std::all_of(
      key.begin(), key.end(), [](char c) { return IsAsciiAlnum(c) || c == '_' || c == '-'; });
  if (!is_key || colon + 1 == line.size()) return "";
  return fmt::format("write a blank behind the `:`: `{}: {}`", key, line.substr(colon + 1));
}

// Says more where what stands at `found`, where the parser stopped, tells what happened.
void Refine(std::string_view text, Mark found, Problem* problem) {
  const std::string_view line = LineAt(text, found.line);
  const auto column = std::min(static_cast<size_t>(found.column - 1), line.size());
  const std::string_view rest = line.substr(column);
  const char before = column > 0 ? line[column - 1] : ' ';
  const std::string_view rule = problem->rule;
  if (rule.starts_with("this line does not continue") && (before == '"' || before == '\'')) {
    problem->rule = "the quote ends in front of this";
    problem->suggestion = "put a text with `\"` in it in single quotes: `'say \"hello\"'`";
  } else if (rule.starts_with("this line does not continue the mapping") &&
             rest.starts_with("- ")) {
    problem->rule = "this line does not continue the list above it";
    problem->suggestion = "begin each element with `- `, all of them in the same column";
  } else if (rule.find("or a `,` is missing") != std::string_view::npos &&
             (rest.starts_with('"') || rest.starts_with('{'))) {
    problem->rule = "a `,` is missing in front of this";
    problem->suggestion = "put it behind the value above";
    problem->mark = found;
  } else if (rule.starts_with("this line is neither")) {
    const std::string hint = WithBlank(LineAt(text, problem->mark.line));
    if (!hint.empty() && !MayHoldSecret(text, problem->mark.line)) problem->suggestion = hint;
  }
}

}  // namespace

struct YamlParser::State {
  yaml_parser_t parser{};
  yaml_event_t event{};
  bool has_event = false;

  void Drop() {
    if (has_event) yaml_event_delete(&event);
    has_event = false;
  }
};

YamlParser::YamlParser(std::string_view text) : text_(text), state_(std::make_unique<State>()) {
  yaml_parser_initialize(&state_->parser);
  yaml_parser_set_encoding(&state_->parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(
      &state_->parser, reinterpret_cast<const unsigned char*>(text.data()), text.size());
}

YamlParser::~YamlParser() {
  state_->Drop();
  yaml_parser_delete(&state_->parser);
}

bool YamlParser::Next(YamlEvent* event) {
  while (true) {
    state_->Drop();
    yaml_event_t& raw = state_->event;
    if (yaml_parser_parse(&state_->parser, &raw) == 0) return false;
    state_->has_event = true;
    *event = {.mark = ToMark(raw.start_mark)};
    switch (raw.type) {
      case YAML_STREAM_END_EVENT:
      case YAML_NO_EVENT:
        return true;
      case YAML_DOCUMENT_START_EVENT:
        event->kind = YamlEvent::Kind::kDocument;
        return true;
      case YAML_ALIAS_EVENT:
        event->kind = YamlEvent::Kind::kAlias;
        event->anchor = View(raw.data.alias.anchor);
        return true;
      case YAML_SCALAR_EVENT:
        event->kind = YamlEvent::Kind::kScalar;
        event->anchor = View(raw.data.scalar.anchor);
        event->tag = View(raw.data.scalar.tag);
        event->value = {reinterpret_cast<const char*>(raw.data.scalar.value),
                        raw.data.scalar.length};
        event->is_plain = raw.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return true;
      case YAML_SEQUENCE_START_EVENT:
        event->kind = YamlEvent::Kind::kList;
        event->anchor = View(raw.data.sequence_start.anchor);
        event->tag = View(raw.data.sequence_start.tag);
        return true;
      case YAML_MAPPING_START_EVENT:
        event->kind = YamlEvent::Kind::kMap;
        event->anchor = View(raw.data.mapping_start.anchor);
        event->tag = View(raw.data.mapping_start.tag);
        return true;
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        event->kind = YamlEvent::Kind::kClose;
        return true;
      default:
        continue;  // begin of the stream, end of a document
    }
  }
}

Problem YamlParser::problem() const {
  const yaml_parser_t& parser = state_->parser;
  const std::string_view message = parser.problem == nullptr ? "out of memory" : parser.problem;
  const std::string_view context = parser.context == nullptr ? "" : parser.context;
  if (parser.error == YAML_READER_ERROR) {
    return {.rule = fmt::format("is not valid YAML: {} (U+{:04X})", message, parser.problem_value)};
  }
  Problem problem{.mark = ToMark(parser.problem_mark)};
  if (const std::optional<Mark> tab = TabInIndentation(text_, problem.mark.line)) {
    problem.mark = *tab;
    problem.rule = "tabs cannot indent";
    problem.suggestion = "use spaces";
  } else if (const Saying* saying = FindSaying(context, message)) {
    if (saying->where == Where::kBegun && parser.context != nullptr) {
      problem.mark = ToMark(parser.context_mark);
    }
    problem.rule = saying->rule;
    problem.suggestion = saying->suggestion;
    Refine(text_, ToMark(parser.problem_mark), &problem);
  } else {
    problem.rule = fmt::format("is not valid YAML: {}", message);
  }
  problem.is_secret = MayHoldSecret(text_, problem.mark.line);
  return problem;
}

}  // namespace dstack::config
