#include "libs/fsm/dot.h"

#include <catch2/catch.hpp>

namespace dstack::fsm {
namespace {

const std::vector<NamedEdge> kEdges = {
    {"new", "start", "running"},
    {"running", "finish", "done"},
    {"running", "fail", "done"},
};

TEST_CASE("graphviz shares arrows") {
  CHECK(ToDot("task", kEdges) ==
        "digraph task {\n"
        "  new -> running [label=\"start\"];\n"
        "  running -> done [label=\"finish, fail\"];\n"
        "}\n");
}

TEST_CASE("mermaid marks start and end") {
  CHECK(ToMermaid("new", kEdges) ==
        "stateDiagram-v2\n"
        "  [*] --> new\n"
        "  new --> running: start\n"
        "  running --> done: finish, fail\n"
        "  done --> [*]\n");
}

}  // namespace
}  // namespace dstack::fsm
