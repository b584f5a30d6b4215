#include "libs/fsm/dot.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace dstack::fsm {
namespace {

struct Arrow {
  std::string from;
  std::string to;
  std::string label;
};

// In the order of the table, so that a diagram changes only where the table did.
std::vector<Arrow> Arrows(const std::vector<NamedEdge>& edges) {
  std::vector<Arrow> arrows;
  for (const NamedEdge& edge : edges) {
    const auto same = std::find_if(arrows.begin(), arrows.end(), [&](const Arrow& arrow) {
      return arrow.from == edge.from && arrow.to == edge.to;
    });
    if (same == arrows.end()) {
      arrows.push_back({edge.from, edge.to, edge.event});
    } else {
      same->label += ", " + edge.event;
    }
  }
  return arrows;
}

}  // namespace

std::string ToDot(std::string_view name, const std::vector<NamedEdge>& edges) {
  std::string text = fmt::format("digraph {} {{\n", name);
  for (const Arrow& arrow : Arrows(edges)) {
    text += fmt::format("  {} -> {} [label=\"{}\"];\n", arrow.from, arrow.to, arrow.label);
  }
  return text + "}\n";
}

std::string ToMermaid(std::string_view start, const std::vector<NamedEdge>& edges) {
  std::string text = fmt::format("stateDiagram-v2\n  [*] --> {}\n", start);
  for (const Arrow& arrow : Arrows(edges)) {
    text += fmt::format("  {} --> {}: {}\n", arrow.from, arrow.to, arrow.label);
  }
  for (std::vector<std::string> ended; const NamedEdge& edge : edges) {
    const bool leaves = std::any_of(
        edges.begin(), edges.end(), [&](const NamedEdge& other) { return other.from == edge.to; });
    if (leaves || std::find(ended.begin(), ended.end(), edge.to) != ended.end()) continue;
    ended.push_back(edge.to);
    text += fmt::format("  {} --> [*]\n", edge.to);
  }
  return text;
}

}  // namespace dstack::fsm
