#include "libs/config/yaml_load.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

Mark ToMark(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

// Leaves the parser, which knows no other way out. Never passes LoadYaml.
struct Refused {
  Problem problem;
};

// Builds the tree from the events of the parser.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& file) : file_(file) {}

  // Where the last scalar begins.
  const YAML::Mark& last_scalar() const { return last_scalar_; }
  NodePtr root() const { return root_ ? root_ : std::make_shared<const Node>(); }
  std::vector<Problem> TakeWarnings() { return std::move(warnings_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_) Refuse(ToMark(mark), "a file holds one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = std::make_shared<Node>();
    node->mark = ToMark(mark);
    Add(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Refuse(ToMark(mark), "an alias may not refer to what encloses it");
    Attach(found->second, ToMark(mark));
  }

  void OnScalar(const YAML::Mark& mark,
                const std::string& tag,
                YAML::anchor_t anchor,
                const std::string& value) override {
    last_scalar_ = mark;
    auto node = std::make_shared<Node>(ResolveScalar(ToMark(mark), tag, value));
    node->source = value;
    node->mark = ToMark(mark);
    Add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark,
                       const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(NodeKind::kList, ToMark(mark), tag, "tag:yaml.org,2002:seq", anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark,
                  const std::string& tag,
                  YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(NodeKind::kMap, ToMark(mark), tag, "tag:yaml.org,2002:map", anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    std::shared_ptr<Node> node;
    YAML::anchor_t anchor = 0;
    NodePtr key;  // mapping: the key whose value comes next
    Mark key_mark;
    std::map<std::string, size_t> index;  // mapping: where each key stands in the node
    std::vector<Entry> merged;            // mapping: entries from `<<`, first one first
  };

  [[noreturn]] void Refuse(Mark mark, std::string rule) const {
    throw Refused{{.file = file_, .mark = mark, .rule = std::move(rule)}};
  }

  [[noreturn]] void RefuseSize(Mark mark) const {
    Refuse(mark,
           fmt::format("a document holds {} values at most, aliases included", kMaxDocumentValues));
  }

  Node ResolveScalar(Mark mark, const std::string& tag, const std::string& value) const {
    constexpr std::string_view kYamlTag = "tag:yaml.org,2002:";
    if (tag == "?" || tag.empty()) return ResolvePlain(value);
    if (tag == "!" || tag == fmt::format("{}str", kYamlTag)) {
      Node node;
      node.kind = NodeKind::kString;
      node.text = value;
      return node;
    }
    const Node node = ResolvePlain(value);
    const bool agrees =
        (tag == fmt::format("{}int", kYamlTag) && node.kind == NodeKind::kInt) ||
        (tag == fmt::format("{}float", kYamlTag) && node.kind == NodeKind::kFloat) ||
        (tag == fmt::format("{}bool", kYamlTag) && node.kind == NodeKind::kBool) ||
        (tag == fmt::format("{}null", kYamlTag) && node.kind == NodeKind::kNull);
    if (!agrees) Refuse(mark, fmt::format("the tag `{}` cannot be used here", Excerpt(tag)));
    return node;
  }

  void Open(NodeKind kind,
            Mark mark,
            const std::string& tag,
            std::string_view own_tag,
            YAML::anchor_t anchor) {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != own_tag) {
      Refuse(mark, fmt::format("the tag `{}` cannot be used here", Excerpt(tag)));
    }
    if (stack_.size() >= static_cast<size_t>(kMaxDocumentDepth)) {
      Refuse(mark, fmt::format("values may be nested {} deep at most", kMaxDocumentDepth));
    }
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->mark = mark;
    Frame& frame = stack_.emplace_back();
    frame.node = std::move(node);
    frame.anchor = anchor;
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    // Keys of the mapping itself win over merged ones, and earlier merged ones over later ones.
    for (Entry& entry : frame.merged) {
      const size_t position = frame.node->entries.size();
      if (!frame.index.emplace(entry.key, position).second) continue;
      frame.node->entries.push_back(std::move(entry));
    }
    Add(std::move(frame.node), frame.anchor);
  }

  void Add(std::shared_ptr<Node> node, YAML::anchor_t anchor) {
    for (const NodePtr& item : node->items) Grow(*item, node.get());
    for (const Entry& entry : node->entries) Grow(*entry.value, node.get());
    // Counted as they come, too, so that memory is not filled before the end of a long list.
    if (node->weight > kMaxDocumentValues || ++count_ > kMaxDocumentValues) RefuseSize(node->mark);
    const Mark mark = node->mark;
    NodePtr finished = std::move(node);
    if (anchor != 0) anchors_[anchor] = finished;
    Attach(finished, mark);
  }

  static void Grow(const Node& child, Node* parent) {
    parent->weight = std::min(parent->weight + child.weight, kMaxDocumentValues + 1);
  }

  void Attach(const NodePtr& node, Mark mark) {
    if (stack_.empty()) {
      root_ = node;
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node->kind == NodeKind::kList) {
      frame.node->items.push_back(node);
    } else if (!frame.key) {
      SetKey(node, mark, &frame);
    } else {
      AddEntry(node, &frame);
    }
  }

  void SetKey(const NodePtr& node, Mark mark, Frame* frame) const {
    if (node->kind == NodeKind::kList || node->kind == NodeKind::kMap) {
      Refuse(mark, "a key must be a word, not " + KindName(node->kind));
    }
    if (node->kind == NodeKind::kNull) Refuse(mark, "a key must not be empty");
    frame->key = node;
    frame->key_mark = mark;
  }

  void AddEntry(const NodePtr& value, Frame* frame) {
    const NodePtr key = std::exchange(frame->key, nullptr);
    if (key->source == "<<") {
      Merge(value, frame);
      return;
    }
    Entry entry{.key = key->source, .mark = frame->key_mark, .value = value};
    if (value->kind == NodeKind::kNull && value->source.empty()) {
      // A value that is left out is shown where its key stands.
      auto absent = std::make_shared<Node>(*value);
      absent->mark = frame->key_mark;
      entry.value = std::move(absent);
    }
    const size_t position = frame->node->entries.size();
    const auto [known, is_new] = frame->index.emplace(entry.key, position);
    if (!is_new) {
      Entry& earlier = frame->node->entries[known->second];
      constexpr size_t kMaxWarnings = 1000;
      const bool is_told = warnings_.size() < kMaxWarnings;
      if (is_told)
        warnings_.push_back({.file = file_,
                             .mark = entry.mark,
                             .path = Excerpt(entry.key),
                             .rule = fmt::format("is given twice; the value of line {} is ignored",
                                                 earlier.mark.line)});
      earlier = std::move(entry);
      return;
    }
    frame->node->entries.push_back(std::move(entry));
  }

  void Merge(const NodePtr& value, Frame* frame) {
    std::vector<NodePtr> sources = {value};
    if (value->kind == NodeKind::kList) sources = value->items;
    for (const NodePtr& source : sources) {
      if (source->kind != NodeKind::kMap) {
        Refuse(frame->key_mark, "`<<` needs a mapping or a list of mappings");
      }
      const auto& entries = source->entries;
      // Copied below, so they count like values of their own.
      count_ += entries.size();
      if (count_ > kMaxDocumentValues) RefuseSize(frame->key_mark);
      frame->merged.insert(frame->merged.end(), entries.begin(), entries.end());
    }
  }

  const std::string& file_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, NodePtr> anchors_;
  NodePtr root_;
  uint64_t count_ = 0;
  YAML::Mark last_scalar_;
  std::vector<Problem> warnings_;
};

Mark MarkAt(std::string_view text, size_t offset) {
  Mark mark{1, 1};
  for (const char c : text.substr(0, offset)) {
    ++mark.column;
    if (c == '\n') mark = {mark.line + 1, 1};
  }
  return mark;
}

// What the parser itself does not refuse, or only with an unclear message.
std::optional<Problem> CheckText(std::string_view text, const std::string& file) {
  if (text.size() > kMaxDocumentBytes) {
    return Problem{.file = file,
                   .value = fmt::format("{} bytes", text.size()),
                   .rule = fmt::format("a document has {} bytes at most", kMaxDocumentBytes)};
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0x7F)) continue;
    return Problem{.file = file,
                   .mark = MarkAt(text, i),
                   .rule = fmt::format("control characters are not allowed (0x{:02x})", c),
                   .is_secret = true};
  }
  if (!IsValidUtf8(text)) return Problem{.file = file, .rule = "the text is not valid UTF-8"};
  return std::nullopt;
}

// Without the byte order mark, and with plain line ends.
std::string Normalise(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    plain += text[i];
  }
  return plain;
}

// What the parser says, in words for people who do not know its own.
struct Saying {
  std::string_view parser;  // the beginning of its message
  const char* rule;
  const char* suggestion;
};

constexpr std::array kSayings = {
    Saying{"end of map not found",
           "this line does not continue the mapping above it",
           "put the key below the first letter of the keys around it, and `: ` behind it"},
    Saying{"end of map flow not found",
           "a `{` is not closed by a `}`",
           "put a `}` where the mapping ends, here or above"},
    Saying{"end of sequence not found",
           "this line does not continue the list above it",
           "begin each element with `- `, all of them in the same column"},
    Saying{"end of sequence flow not found",
           "a `[` is not closed by a `]`",
           "put a `]` where the list ends, here or above"},
    Saying{"illegal map value",
           "`: ` cannot stand here",
           "put a text that has `: ` in it in quotes, and check the indentation"},
    Saying{"illegal block entry", "`- ` cannot stand here", "put the list on the next line"},
    Saying{"illegal map key", "a key cannot stand here", "check the indentation"},
    Saying{
        "illegal EOF in scalar", "a quote is not closed", "put the same quote where the text ends"},
    Saying{"illegal tab", "tabs cannot indent", "use spaces"},
    Saying{"illegal flow end", "a `]` or `}` is not opened", ""},
    Saying{"unknown escape character",
           "this `\\` begins no known escape",
           "use single quotes, in which `\\` is an ordinary character"},
    Saying{"unknown token",
           "this character cannot begin a value",
           "put a text that begins with `@`, `%` or a backquote in quotes"},
    Saying{"alias not found after *",
           "`*` begins an alias",
           "put a text that begins with `*` in quotes"},
    Saying{"anchor not found after &",
           "`&` begins an anchor",
           "put a text that begins with `&` in quotes"},
    Saying{"the referenced anchor is not defined",
           "this alias refers to no anchor above it",
           "put a text that begins with `*` in quotes"},
    Saying{"illegal character found while scanning alias",
           "`*` begins an alias",
           "put a text that begins with `*` in quotes"},
};

// The line of a place, without its end.
std::string_view LineAt(std::string_view text, int line) {
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// The first line up to this one whose indentation has a tab: the parser complains much later, about
// something else.
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

Problem SyntaxProblem(const YAML::Exception& error,
                      const std::string& file,
                      std::string_view text) {
  Problem problem{.file = file, .mark = ToMark(error.mark)};
  if (const std::optional<Mark> tab = TabInIndentation(text, problem.mark.line)) {
    problem.mark = *tab;
    problem.rule = "tabs cannot indent";
    problem.suggestion = "use spaces";
    return problem;
  }
  problem.rule = "is not valid YAML: " + error.msg;
  for (const Saying& saying : kSayings) {
    if (!std::string_view(error.msg).starts_with(saying.parser)) continue;
    problem.rule = saying.rule;
    problem.suggestion = saying.suggestion;
  }
  return problem;
}

// Whether the scalar that begins here is quoted and never closed. The parser takes the end of the
// text for the end of the quote.
bool IsOpenQuote(std::string_view text, size_t begin) {
  if (begin >= text.size()) return false;
  const char quote = text[begin];
  if (quote != '"' && quote != '\'') return false;
  for (size_t i = begin + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      const bool is_pair = quote == '\'' && i + 1 < text.size() && text[i + 1] == quote;
      if (!is_pair) return false;
      ++i;
    }
  }
  return true;
}

// Parses the text into `builder`; the problem that ended it, if any.
std::optional<Problem> Parse(std::string_view text, const std::string& file, TreeBuilder* builder) {
  const std::string plain = Normalise(text);
  std::istringstream in(plain);
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(*builder)) {
    }
  } catch (const Refused& refused) {
    return refused.problem;
  } catch (const YAML::DeepRecursion& error) {
    return Problem{.file = file,
                   .mark = ToMark(error.mark),
                   .rule = fmt::format("values may be nested {} deep at most", kMaxDocumentDepth),
                   .is_secret = true};
  } catch (const YAML::Exception& error) {
    return SyntaxProblem(error, file, text);
  }
  const YAML::Mark& last = builder->last_scalar();
  if (last.pos < 0 || !IsOpenQuote(plain, static_cast<size_t>(last.pos))) return std::nullopt;
  return Problem{.file = file,
                 .mark = ToMark(last),
                 .rule = "a quote is not closed",
                 .suggestion = "put the same quote where the text ends"};
}

}  // namespace

std::optional<LoadedYaml> LoadYaml(std::string_view text,
                                   const std::string& file,
                                   std::vector<Problem>* problems) {
  std::optional<Problem> problem = CheckText(text, file);
  TreeBuilder builder(file);
  if (!problem) problem = Parse(text, file, &builder);
  if (problem) {
    problems->push_back(*std::move(problem));
    return std::nullopt;
  }
  return LoadedYaml{.root = builder.root(), .warnings = builder.TakeWarnings()};
}

absl::StatusOr<LoadedYaml> LoadYaml(std::string_view text, const std::string& file) {
  std::vector<Problem> problems;
  std::optional<LoadedYaml> loaded = LoadYaml(text, file, &problems);
  if (!loaded) return ProblemsToStatus(problems, text);
  return *std::move(loaded);
}

}  // namespace dstack::config
