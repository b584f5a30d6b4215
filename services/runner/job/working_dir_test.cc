#include "services/runner/job/working_dir.h"

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

TEST_CASE("X1 paths against base and home") {
  const auto resolve = [](std::string_view path) {
    return ResolvePath(path, "/base", "/home/u").value();
  };
  CHECK(resolve("") == "/base");
  CHECK(resolve(".") == "/base");
  CHECK(resolve("a/b/") == "/base/a/b");
  CHECK(resolve("/x//y") == "/x/y");
  CHECK(resolve("../z") == "/z");
  CHECK(resolve("../../..") == "/");
  CHECK(resolve("~") == "/home/u");
  CHECK(resolve("~/") == "/home/u");
  CHECK(resolve("~//etc") == "/home/u/etc");
  CHECK_FALSE(ResolvePath("~root/x", "/base", "/home/u").ok());
}

TEST_CASE("X2 directories are made with all parents, once") {
  const testing::TempDir temp;
  const JobUser user{.uid = getuid(), .gid = getgid(), .groups = {}, .name = "me", .home = "/"};
  const std::string dir = temp.path() + "/a/b/c";
  CHECK(MakeDirsFor(dir, user).value());
  CHECK_FALSE(MakeDirsFor(dir, user).value());
  REQUIRE(base::WriteFileAtomic(dir + "/file", "x").ok());
  CHECK(MakeDirsFor(dir + "/file", user).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK_FALSE(MakeDirsFor(dir + "/file/below", user).ok());
}

}  // namespace
}  // namespace dstack::runner
