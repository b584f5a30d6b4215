#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dstack::fsm {

// An edge by names, for documents.
struct NamedEdge {
  std::string from;
  std::string event;
  std::string to;
};

// The table in Graphviz's language. Edges between the same two states share an arrow.
std::string ToDot(std::string_view name, const std::vector<NamedEdge>& edges);

// The table as a Mermaid state diagram, which README files show as a picture.
std::string ToMermaid(std::string_view start, const std::vector<NamedEdge>& edges);

// Names a table with the functions of its enums.
template <typename E, std::size_t N, typename StateName, typename EventName>
std::vector<NamedEdge> Named(const std::array<E, N>& edges,
                             StateName state_name,
                             EventName event_name) {
  std::vector<NamedEdge> named;
  for (const E& edge : edges) {
    named.push_back({std::string(state_name(edge.from)),
                     std::string(event_name(edge.event)),
                     std::string(state_name(edge.to))});
  }
  return named;
}

}  // namespace dstack::fsm
