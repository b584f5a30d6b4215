// A YAML document as a tree of resolved values, with the place of each in the text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

namespace dstack::config {

// A place in a document, counted from 1. Zero: unknown.
struct Mark {
  int line = 0;
  int column = 0;
};

enum class NodeKind { kNull, kBool, kInt, kFloat, kDate, kString, kList, kMap };

struct Node;
// Shared, because an alias refers to the node of its anchor.
using NodePtr = std::shared_ptr<const Node>;

struct Entry {
  std::string key;
  Mark mark;  // of the key
  NodePtr value;
};

// One value. Plain data; immutable once loaded.
struct Node {
  NodeKind kind = NodeKind::kNull;
  Mark mark;
  // Scalars: the text that a string field gets (numbers in their shortest decimal form).
  std::string text;
  // Scalars: the text as it stands in the document.
  std::string source;
  bool bool_value = false;
  int64_t int_value = 0;
  double float_value = 0;
  // An integer written as `22:22`, which YAML 1.1 reads in base 60.
  bool is_sexagesimal = false;
  std::vector<NodePtr> items;
  std::vector<Entry> entries;
  // Number of values below and including this one, with aliases expanded. Saturates.
  uint64_t weight = 1;
};

// Resolves a plain (unquoted) scalar as YAML 1.1 does: `on` is a boolean, `0x10` and `1_000` are
// numbers, `22:22` is 1342.
Node ResolvePlain(const std::string& text);

// Lax conversions of scalars, as the reference system does them. The error message is the rule that
// the value breaks ("must be a string").
absl::StatusOr<std::string> ToText(const Node& node);
absl::StatusOr<int64_t> ToInt(const Node& node);
absl::StatusOr<double> ToDouble(const Node& node);
absl::StatusOr<bool> ToBool(const Node& node);

// "a list", "a mapping", "null", "a string", ... for messages.
std::string KindName(NodeKind kind);

}  // namespace dstack::config
