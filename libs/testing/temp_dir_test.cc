#include "libs/testing/temp_dir.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/paths.h"

namespace dstack::testing {
namespace {

TEST_CASE("a temporary directory is short, fresh and gone afterwards") {
  std::string path;
  {
    TempDir dir;
    TempDir other;
    path = dir.path();
    CHECK(path != other.path());
    CHECK(path.size() < 20);
    REQUIRE(base::MakeDirs(dir.Path("a/b")).ok());
    REQUIRE(base::WriteFileAtomic(dir.Path("a/b/c"), "x").ok());
  }
  CHECK_FALSE(base::Exists(path));
}

TEST_CASE("tests find the tree they belong to") {
  CHECK(base::Exists(SourceDir() + "/libs/testing/paths.h"));
  CHECK(base::Exists(BuildDir() + "/CMakeCache.txt"));
  CHECK(Binary("dstack") == BuildDir() + "/bin/dstack");
}

}  // namespace
}  // namespace dstack::testing
