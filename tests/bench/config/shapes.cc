#include "tests/bench/config/shapes.h"

#include <cstddef>
#include <functional>
#include <string_view>

#include <fmt/format.h>

namespace dstack::bench {

namespace {

constexpr size_t kMegabyte = size_t{1} << 20;

// `head`, then pieces as long as they fit below `limit` bytes.
std::string Filled(std::string head,
                   const std::function<std::string(int)>& piece,
                   size_t limit = kMegabyte - 64) {
  for (int i = 0;; ++i) {
    const std::string next = piece(i);
    if (head.size() + next.size() > limit) return head;
    head += next;
  }
}

std::string Filled(std::string head, std::string_view piece) {
  return Filled(std::move(head), [&](int) { return std::string(piece); });
}

std::string Nested(int depth, std::string_view open, std::string_view inner, char close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += inner;
  return text.append(static_cast<size_t>(depth), close);
}

// A mapping in a mapping and so on, each indented one column more than the one around it.
std::string NestedBlocks(int depth, size_t indentation) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += std::string(indentation++, ' ') + "k:\n";
  return text + std::string(indentation, ' ') + "k: v\n";
}

constexpr const char* kTask = "type: task\ncommands: [x]\n";
constexpr const char* kTemplate = "type: template\nname: t\ntitle: t\nconfiguration:\n";

}  // namespace

std::vector<Shape> WorstShapes() {
  const auto key = [](int i) {
    return fmt::format("  KEY_{:08}: value of this variable, which is a longer text\n", i);
  };
  const auto pair = [](int i) { return fmt::format("  - KEY_{:08}=the value of this one\n", i); };
  return {
      {"list", Filled("type: task\ncommands:\n", "  - echo 12345678901234567890123456\n")},
      {"flow_list",
       Filled("type: task\ncommands: [a", ", echo 12345678901234567890123456789") + "]\n"},
      {"keys", Filled("type: task\ncommands: [x]\nenv:\n", key)},
      {"pairs", Filled("type: task\ncommands: [x]\nenv:\n", pair)},
      {"deep_flow",
       Filled(fmt::format("{}  a:\n", kTemplate), "    - " + Nested(90, "[", "x", ']') + "\n")},
      {"deep_blocks",
       Filled(kTemplate, [](int i) { return fmt::format("  k{}:\n", i) + NestedBlocks(60, 4); })},
      {"plain_scalar", Filled("type: task\ncommands:\n  - echo", " word") + "\n"},
      {"quoted_scalar", Filled("type: task\ncommands:\n  - \"echo", " word\\n") + "\"\n"},
      {"block_scalar", Filled("type: task\ncommands:\n  - |\n", "    echo one line of a script\n")},
      {"comments", Filled(kTask, "# a line that nobody reads\n")},
      {"blank_lines", Filled(kTask, "\n")},
      {"aliases",
       Filled("type: task\ncommands:\n  - &anchor_of_a_long_name x\n",
              "  - *anchor_of_a_long_name\n")},
      {"anchors",
       Filled("type: task\ncommands:\n",
              [](int i) { return fmt::format("  - &anchor_{:08} some more text here\n", i); })},
      {"wide_values", Filled("type: task\ncommands:\n", "  - x\n")},
      {"unknown_keys", Filled(kTask, [](int i) { return fmt::format("comand_{:08}: v\n", i); })},
      {"wrong_values",
       Filled("type: task\ncommands: [x]\nports:\n", "  - eighty-eighty:tcp:99:and:so:on\n")},
      {"wrong_env",
       Filled("type: task\ncommands: [x]\nenv:\n", "  - A-B=01234567890123456789012345\n")},
      {"duplicate_keys", Filled("type: task\ncommands: [x]\nenv:\n", "  KEY: value of this one\n")},
      {"late_error",
       Filled("type: task\ncommands:\n", "  - echo 12345678901234567890123456\n") + " x: [\n"},
  };
}

}  // namespace dstack::bench
