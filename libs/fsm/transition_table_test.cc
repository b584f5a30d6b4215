#include "libs/fsm/transition_table.h"

#include <catch2/catch.hpp>

namespace dstack::fsm {
namespace {

enum class State { kNew, kRunning, kDone, kLost };
enum class Event { kStart, kFinish, kCancel };

constexpr std::array kEdges = {
    Edge{State::kNew, Event::kStart, State::kRunning},
    Edge{State::kNew, Event::kCancel, State::kDone},
    Edge{State::kRunning, Event::kFinish, State::kDone},
};
static_assert(IsDeterministic(kEdges));
static_assert(HasNoExit(kEdges, State::kDone));
static_assert(!HasNoExit(kEdges, State::kNew));
static_assert(AllReachable(kEdges, State::kNew));
static_assert(!AllReachable(kEdges, State::kRunning));
static_assert(!IsReachable(kEdges, State::kNew, State::kLost));
static_assert(AlwaysCanReach(kEdges, State::kDone));
static_assert(!AlwaysCanReach(kEdges, State::kRunning));
static_assert(Next(kEdges, State::kNew, Event::kStart) == State::kRunning);

constexpr std::array kAmbiguous = {
    Edge{State::kNew, Event::kStart, State::kRunning},
    Edge{State::kNew, Event::kStart, State::kDone},
};
static_assert(!IsDeterministic(kAmbiguous));

std::string_view StateName(State state) { return state == State::kDone ? "DONE" : "OTHER"; }
std::string_view EventName(Event) { return "START"; }

TEST_CASE("a refused event names both sides") {
  CHECK(*NextOrError(kEdges, State::kNew, Event::kStart, "task", StateName, EventName) ==
        State::kRunning);
  const auto refused =
      NextOrError(kEdges, State::kDone, Event::kStart, "task", StateName, EventName);
  CHECK(refused.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Message(refused.status()) == "task in state DONE does not accept START");
  CHECK(base::Reason(refused.status()) == "INVALID_TRANSITION");
  CHECK(base::Metadata(refused.status()).at("from") == "DONE");
}

}  // namespace
}  // namespace dstack::fsm
