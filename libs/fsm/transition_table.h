#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include <absl/status/statusor.h>
#include <fmt/format.h>

#include "libs/base/status.h"

// State machines as data: a constexpr array of edges beside the enums, checked by static_assert.
//
//   inline constexpr std::array kTaskEdges = {
//       fsm::Edge{TaskState::kPending, TaskEvent::kStart, TaskState::kPreparing}, ... };
//   static_assert(fsm::IsDeterministic(kTaskEdges));
//   static_assert(fsm::HasNoExit(kTaskEdges, TaskState::kTerminated));
//   static_assert(fsm::AllReachable(kTaskEdges, TaskState::kPending));
namespace dstack::fsm {

template <typename State, typename Event>
struct Edge {
  using StateType = State;
  using EventType = Event;

  State from;
  Event event;
  State to;
};

template <typename State, typename Event>
Edge(State, Event, State) -> Edge<State, Event>;

// No state has two edges for one event.
template <typename E, std::size_t N>
constexpr bool IsDeterministic(const std::array<E, N>& edges) {
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = i + 1; j < N; ++j) {
      if (edges[i].from == edges[j].from && edges[i].event == edges[j].event) return false;
    }
  }
  return true;
}

// No edge leaves `state`: it is terminal.
template <typename E, std::size_t N>
constexpr bool HasNoExit(const std::array<E, N>& edges, typename E::StateType state) {
  for (const E& edge : edges) {
    if (edge.from == state) return false;
  }
  return true;
}

// There is a path from `start` to `target` (also when they are equal).
template <typename E, std::size_t N>
constexpr bool IsReachable(const std::array<E, N>& edges,
                           typename E::StateType start,
                           typename E::StateType target) {
  std::array<typename E::StateType, N + 1> seen{};
  std::size_t count = 0;
  seen[count++] = start;
  const auto contains = [&](typename E::StateType state) {
    for (std::size_t i = 0; i < count; ++i) {
      if (seen[i] == state) return true;
    }
    return false;
  };
  for (std::size_t next = 0; next < count; ++next) {
    for (const E& edge : edges) {
      if (edge.from == seen[next] && !contains(edge.to)) seen[count++] = edge.to;
    }
  }
  return contains(target);
}

// Every state that occurs in the table can be reached from `start`.
template <typename E, std::size_t N>
constexpr bool AllReachable(const std::array<E, N>& edges, typename E::StateType start) {
  for (const E& edge : edges) {
    if (!IsReachable(edges, start, edge.from) || !IsReachable(edges, start, edge.to)) return false;
  }
  return true;
}

// `target` can be reached from every state of the table: the machine cannot get stuck.
template <typename E, std::size_t N>
constexpr bool AlwaysCanReach(const std::array<E, N>& edges, typename E::StateType target) {
  for (const E& edge : edges) {
    if (!IsReachable(edges, edge.from, target) || !IsReachable(edges, edge.to, target))
      return false;
  }
  return true;
}

// Where `event` leads from `from`; nothing when the table has no such edge.
template <typename E, std::size_t N>
constexpr std::optional<typename E::StateType> Next(const std::array<E, N>& edges,
                                                    typename E::StateType from,
                                                    typename E::EventType event) {
  for (const E& edge : edges) {
    if (edge.from == from && edge.event == event) return edge.to;
  }
  return std::nullopt;
}

// As Next(), with a FAILED_PRECONDITION error (reason INVALID_TRANSITION, metadata `from` and
// `event`) that names both sides. `machine` is the noun ("task"); the two functions give the names
// of states and events.
template <typename E, std::size_t N, typename StateName, typename EventName>
absl::StatusOr<typename E::StateType> NextOrError(const std::array<E, N>& edges,
                                                  typename E::StateType from,
                                                  typename E::EventType event,
                                                  std::string_view machine,
                                                  StateName state_name,
                                                  EventName event_name) {
  if (const auto to = Next(edges, from, event)) return *to;
  const std::string from_name(state_name(from));
  const std::string what(event_name(event));
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "INVALID_TRANSITION",
                     fmt::format("{} in state {} does not accept {}", machine, from_name, what),
                     {{"from", from_name}, {"event", what}});
}

}  // namespace dstack::fsm
