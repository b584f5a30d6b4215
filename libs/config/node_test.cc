#include "libs/config/node.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace dstack::config {
namespace {

TEST_CASE("plain scalars resolve as YAML 1.1 does") {
  struct Case {
    std::string text;
    NodeKind kind;
    std::string as_text;
  };
  const std::vector<Case> cases = {
      {"yes", NodeKind::kBool, "yes"},
      {"Off", NodeKind::kBool, "Off"},
      {"y", NodeKind::kString, "y"},
      {"oN", NodeKind::kString, "oN"},
      {"", NodeKind::kNull, ""},
      {"~", NodeKind::kNull, "~"},
      {"NULL", NodeKind::kNull, "NULL"},
      {"5", NodeKind::kInt, "5"},
      {"-5", NodeKind::kInt, "-5"},
      {"+5", NodeKind::kInt, "5"},
      {"012", NodeKind::kInt, "10"},
      {"0x10", NodeKind::kInt, "16"},
      {"0b11", NodeKind::kInt, "3"},
      {"1_000", NodeKind::kInt, "1000"},
      {"09", NodeKind::kString, "09"},
      {"22:22", NodeKind::kInt, "1342"},
      {"8080:22", NodeKind::kInt, "484822"},
      {"80:80", NodeKind::kString, "80:80"},
      {"01:30", NodeKind::kString, "01:30"},
      {"3.10", NodeKind::kFloat, "3.1"},
      {"1.0", NodeKind::kFloat, "1.0"},
      {".5", NodeKind::kFloat, "0.5"},
      {"1e5", NodeKind::kString, "1e5"},
      {"1.0e5", NodeKind::kString, "1.0e5"},
      {"1.0e+5", NodeKind::kFloat, "100000.0"},
      {"2..8", NodeKind::kString, "2..8"},
      {"..8", NodeKind::kString, "..8"},
      {"8..", NodeKind::kString, "8.."},
      {"24GB", NodeKind::kString, "24GB"},
      {"2024-01-01", NodeKind::kDate, "2024-01-01"},
      {"1.2.3.4", NodeKind::kString, "1.2.3.4"},
      {"-", NodeKind::kString, "-"},
      {".", NodeKind::kString, "."},
      {"99999999999999999999", NodeKind::kFloat, "99999999999999999999"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const Node node = ResolvePlain(c.text);
    CHECK(node.kind == c.kind);
    CHECK(node.text == c.as_text);
  }
}

Node Text(const std::string& text) {
  Node node;
  node.kind = NodeKind::kString;
  node.text = text;
  return node;
}

TEST_CASE("integers are read from numbers, booleans and decimal text") {
  CHECK(ToInt(ResolvePlain("7")).value() == 7);
  CHECK(ToInt(ResolvePlain("true")).value() == 1);
  CHECK(ToInt(ResolvePlain("2.0")).value() == 2);
  CHECK(ToInt(Text(" +1_000 ")).value() == 1000);
  CHECK(ToInt(Text("007")).value() == 7);
  CHECK(ToInt(Text("1.0")).value() == 1);
  for (const char* text : {"1e2", "0x10", "1__0", "_1", "1.5", "1.", "", "99999999999999999999"}) {
    INFO(text);
    CHECK(!ToInt(Text(text)).ok());
  }
  CHECK(!ToInt(ResolvePlain("2.5")).ok());
  CHECK(!ToInt(ResolvePlain("99999999999999999999")).ok());
  CHECK(!ToInt(ResolvePlain("~")).ok());
}

TEST_CASE("booleans are read from words in any case") {
  for (const char* text : {"true", "YES", "on", "1", "T", "y"}) {
    INFO(text);
    CHECK(ToBool(Text(text)).value());
  }
  for (const char* text : {"False", "no", "OFF", "0", "f", "N"}) {
    INFO(text);
    CHECK(!ToBool(Text(text)).value());
  }
  CHECK(!ToBool(Text(" true")).ok());
  CHECK(!ToBool(ResolvePlain("2")).ok());
  CHECK(ToBool(ResolvePlain("1.0")).value());
}

TEST_CASE("strings are not read from booleans, dates and collections") {
  CHECK(ToText(ResolvePlain("1.0")).value() == "1.0");
  CHECK(!ToText(ResolvePlain("on")).ok());
  CHECK(!ToText(ResolvePlain("2024-01-01")).ok());
  Node list;
  list.kind = NodeKind::kList;
  CHECK(!ToText(list).ok());
}

TEST_CASE("floats are finite") {
  CHECK(ToDouble(ResolvePlain("1")).value() == 1.0);
  CHECK(ToDouble(Text("1e-3")).value() == 0.001);
  CHECK(!ToDouble(ResolvePlain(".inf")).ok());
  CHECK(!ToDouble(ResolvePlain(".nan")).ok());
  CHECK(!ToDouble(Text("nan")).ok());
}

}  // namespace
}  // namespace dstack::config
