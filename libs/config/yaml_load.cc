#include "libs/config/yaml_load.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "libs/config/secret_text.h"
#include "libs/config/text.h"
#include "libs/config/yaml_parser.h"

namespace dstack::config {

namespace {

// Leaves the parser, which knows no other way out. Never passes LoadYaml.
struct Refused {
  Problem problem;
};

// Builds the tree from the events of the parser.
class TreeBuilder {
 public:
  explicit TreeBuilder(const std::string& file) : file_(file) {}

  NodePtr root() const { return root_ ? root_ : std::make_shared<const Node>(); }
  std::vector<Problem> TakeWarnings() { return std::move(warnings_); }

  void Take(const YamlEvent& event) {
    switch (event.kind) {
      case YamlEvent::Kind::kDocument:
        if (root_) {
          Refuse(event.mark,
                 "a file holds one document",
                 "put what is below this line in a file of its own, and take out the `---`");
        }
        return;
      case YamlEvent::Kind::kAlias:
        return AddAlias(event);
      case YamlEvent::Kind::kScalar:
        return AddScalar(event);
      case YamlEvent::Kind::kList:
        return Open(NodeKind::kList, event, "tag:yaml.org,2002:seq");
      case YamlEvent::Kind::kMap:
        return Open(NodeKind::kMap, event, "tag:yaml.org,2002:map");
      case YamlEvent::Kind::kClose:
        return Close();
      case YamlEvent::Kind::kEnd:
        return;
    }
  }

 private:
  struct Frame {
    std::shared_ptr<Node> node;
    std::string anchor;
    NodePtr key;  // mapping: the key whose value comes next
    Mark key_mark;
    std::map<std::string, size_t> index;  // mapping: where each key stands in the node
    std::vector<Entry> merged;            // mapping: entries from `<<`, first one first
  };

  [[noreturn]] void Refuse(Mark mark, std::string rule, std::string suggestion = "") const {
    throw Refused{{.file = file_,
                   .mark = mark,
                   .rule = std::move(rule),
                   .suggestion = std::move(suggestion)}};
  }

  // The tag itself is not shown: it may be a password that begins with `!`.
  [[noreturn]] void RefuseTag(Mark mark) const {
    throw Refused{{.file = file_,
                   .mark = mark,
                   .rule = "`!` begins a tag, and this one cannot be used here",
                   .suggestion = "put a text that begins with `!` in quotes",
                   .is_secret = true}};
  }

  [[noreturn]] void RefuseSize(Mark mark) const {
    Refuse(mark,
           fmt::format("a document holds {} values at most, aliases included", kMaxDocumentValues));
  }

  void AddAlias(const YamlEvent& event) {
    const auto found = anchors_.find(event.anchor);
    if (found == anchors_.end()) {
      Refuse(event.mark,
             "this alias refers to no anchor above it",
             "put a text that begins with `*` in quotes");
    }
    if (!found->second) Refuse(event.mark, "an alias may not refer to what encloses it");
    Attach(found->second, event.mark);
  }

  void AddScalar(const YamlEvent& event) {
    std::string value(event.value);
    auto node = std::make_shared<Node>(ResolveScalar(event, value));
    node->source = std::move(value);
    node->mark = event.mark;
    Add(std::move(node), event.anchor);
  }

  Node ResolveScalar(const YamlEvent& event, const std::string& value) const {
    if (event.tag.empty() && event.is_plain) return ResolvePlain(value);
    if (event.tag.empty() || event.tag == "!" || event.tag == "tag:yaml.org,2002:str") {
      Node node;
      node.kind = NodeKind::kString;
      node.text = value;
      return node;
    }
    Node node = ResolvePlain(value);
    const bool agrees = (event.tag == "tag:yaml.org,2002:int" && node.kind == NodeKind::kInt) ||
                        (event.tag == "tag:yaml.org,2002:float" && node.kind == NodeKind::kFloat) ||
                        (event.tag == "tag:yaml.org,2002:bool" && node.kind == NodeKind::kBool) ||
                        (event.tag == "tag:yaml.org,2002:null" && node.kind == NodeKind::kNull);
    if (!agrees) RefuseTag(event.mark);
    return node;
  }

  void Open(NodeKind kind, const YamlEvent& event, std::string_view own_tag) {
    if (!event.tag.empty() && event.tag != "!" && event.tag != own_tag) RefuseTag(event.mark);
    if (stack_.size() >= static_cast<size_t>(kMaxDocumentDepth)) {
      Refuse(event.mark, fmt::format("values may be nested {} deep at most", kMaxDocumentDepth));
    }
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->mark = event.mark;
    Frame& frame = stack_.emplace_back();
    frame.node = std::move(node);
    frame.anchor = event.anchor;
    // Not complete yet.
    if (!event.anchor.empty()) anchors_[frame.anchor] = nullptr;
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

  void Add(std::shared_ptr<Node> node, std::string_view anchor) {
    for (const NodePtr& item : node->items) Grow(*item, node.get());
    for (const Entry& entry : node->entries) Grow(*entry.value, node.get());
    // Counted as they come, too, so that memory is not filled before the end of a long list.
    if (node->weight > kMaxDocumentValues || ++count_ > kMaxDocumentValues) RefuseSize(node->mark);
    const Mark mark = node->mark;
    NodePtr finished = std::move(node);
    if (!anchor.empty()) anchors_[std::string(anchor)] = finished;
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
                             .path = ShownKey(entry.key),
                             .rule = fmt::format("is given twice; the value of line {} is ignored",
                                                 earlier.mark.line),
                             .is_key_only = true});
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
  // Null: of a list or mapping that is not closed yet.
  std::map<std::string, NodePtr, std::less<>> anchors_;
  NodePtr root_;
  uint64_t count_ = 0;
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
  if (text.find('\r') == std::string_view::npos) return std::string(text);
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    plain += text[i];
  }
  return plain;
}

// Reads the text into `builder`; the problem that ended it, if any.
std::optional<Problem> Build(std::string_view text, const std::string& file, TreeBuilder* builder) {
  YamlParser parser(text);
  YamlEvent event;
  try {
    do {
      if (!parser.Next(&event)) {
        Problem problem = parser.problem();
        problem.file = file;
        return problem;
      }
      builder->Take(event);
    } while (event.kind != YamlEvent::Kind::kEnd);
  } catch (const Refused& refused) {
    Problem problem = refused.problem;
    problem.is_secret = problem.is_secret || MayHoldSecret(text, problem.mark.line);
    return problem;
  }
  return std::nullopt;
}

}  // namespace

std::optional<LoadedYaml> LoadYaml(std::string_view text,
                                   const std::string& file,
                                   std::vector<Problem>* problems) {
  std::optional<Problem> problem = CheckText(text, file);
  TreeBuilder builder(file);
  if (!problem) problem = Build(Normalise(text), file, &builder);
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
