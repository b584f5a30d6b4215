#include "services/runner/repo/git.h"

#include <catch2/catch.hpp>

namespace dstack::runner {
namespace {

TEST_CASE("what git says becomes a reason, with git's own line") {
  CHECK(
      DescribeGitFailure("fetch",
                         "Receiving objects:  45% (9/20)\nfatal: unable to access "
                         "'https://h/r/': Could not resolve host: h\n") ==
      "the host is not known (fatal: unable to access 'https://h/r/': Could not resolve host: h)");
  CHECK(DescribeGitFailure("checkout", "fatal: cannot write x: No space left on device\nhint: x\n")
            .starts_with("no space left on the disk"));
  CHECK(DescribeGitFailure("fetch", "odd\n") == "odd");
  CHECK(DescribeGitFailure("fetch", "") == "git failed without a word");
}

TEST_CASE("what git says of a diff is not taken for a server's word") {
  struct Case {
    const char* error;
    const char* meaning;
  };
  for (const Case& c :
       {Case{"error: certificates/a.pem: No such file or directory",
             "the changes do not fit the commit"},
        Case{"error: certificates/a.pem: already exists in working directory",
             "the changes do not fit the commit"},
        Case{"error: patch failed: a:1\nerror: a: patch does not apply",
             "the changes do not fit the commit"},
        Case{"error: deep: wrong type", "the changes do not fit the commit"},
        Case{"error: corrupt patch at line 4", "the diff is damaged"},
        Case{"error: patch with only garbage at line 4", "the diff is damaged"},
        Case{"error: No valid patches in input (allow with \"--allow-empty\")",
             "the diff is damaged"},
        Case{"error: invalid path '../x'", "the diff names a path outside the repository"},
        Case{"error: affected file 'a/b' is beyond a symbolic link",
             "the diff names a path behind a symbolic link"},
        Case{"error: unable to write file 'x': No space left on device",
             "no space left on the disk"}}) {
    INFO(c.error);
    CHECK(DescribeGitFailure("apply", c.error).starts_with(c.meaning));
  }
  CHECK(DescribeGitFailure("apply", "error: certificate: odd") == "error: certificate: odd");
}

}  // namespace
}  // namespace dstack::runner
