#include "libs/ssh/quote.h"

#include <cstdio>

#include <catch2/catch.hpp>

namespace dstack::ssh {
namespace {

TEST_CASE("plain words stay as they are") {
  CHECK(QuoteWord("/usr/bin/env") == "/usr/bin/env");
  CHECK(QuoteWord("a-b_c.d:e=f,g@h+i") == "a-b_c.d:e=f,g@h+i");
}

TEST_CASE("everything else is quoted") {
  CHECK(QuoteWord("") == "''");
  CHECK(QuoteWord("a b") == "'a b'");
  CHECK(QuoteWord("it's") == "'it'\\''s'");
  CHECK(QuoteWord("$(rm -rf /)") == "'$(rm -rf /)'");
  CHECK(QuoteWord("~") == "'~'");
  CHECK(QuoteWord("a\nb") == "'a\nb'");
  CHECK(QuoteCommand({"sh", "-c", "echo \"$1\"", "sh", "x;y"}) == "sh -c 'echo \"$1\"' sh 'x;y'");
}

TEST_CASE("a real shell gives the words back") {
  const std::string word = "a'b\"c $HOME `id` \\ * ? [x] #!;&|<>(){}\t!~";
  FILE* pipe = popen(("printf %s " + QuoteWord(word)).c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[256] = {};
  const std::size_t size = fread(buffer, 1, sizeof(buffer), pipe);
  pclose(pipe);
  CHECK(std::string(buffer, size) == word);
}

}  // namespace
}  // namespace dstack::ssh
