#include "services/shim/domain/image_policy.h"

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr base::WallTime kNow{std::chrono::hours(24 * 365)};
constexpr DiskSpace kRoomy{.total_bytes = 1000, .free_bytes = 900};
constexpr DiskSpace kTight{.total_bytes = 1000, .free_bytes = 50};

PulledImage Image(const std::string& name, std::chrono::hours age, std::uint64_t bytes = 30) {
  return {.reference = name, .id = "sha256:" + name, .size_bytes = bytes, .last_used = kNow - age};
}

std::vector<std::string> Names(const std::vector<PulledImage>& images) {
  std::vector<std::string> names;
  for (const PulledImage& image : images) names.push_back(image.reference);
  return names;
}

using Strings = std::vector<std::string>;

TEST_CASE(
    "W15 images go by age, by disk pressure and by their sum, the least recently used first") {
  const std::vector<PulledImage> images = {Image("new", 1h), Image("old", 400h), Image("mid", 30h)};
  const struct {
    const char* name;
    ImagePolicy policy;
    DiskSpace disk;
    Strings removed;
  } rows[] = {
      {"by default only what is old", {}, kRoomy, {"old"}},
      {"age is no reason", {.max_unused = 0s}, kRoomy, {}},
      {"pressure takes as many as it needs", {.max_unused = 0s}, kTight, {"old", "mid"}},
      {"pressure is off", {.max_unused = 0s, .min_free_percent = 0}, kTight, {}},
      {"a limit on the sum", {.max_unused = 0s, .max_bytes = 60}, kRoomy, {"old"}},
      {"all", {.max_unused = 0s, .max_bytes = 1}, kRoomy, {"old", "mid", "new"}},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    CHECK(Names(ImagesToRemove(row.policy, images, {}, row.disk, kNow)) == row.removed);
  }
}

TEST_CASE("an image in use stays, named by reference or by id") {
  const std::vector<PulledImage> images = {Image("a", 400h), Image("b", 401h), Image("c", 402h)};
  CHECK(Names(ImagesToRemove({}, images, {"a", "sha256:c"}, kTight, kNow)) == Strings{"b"});
}

TEST_CASE("a clock that was set back removes nothing") {
  CHECK(ImagesToRemove({}, {Image("a", -1000h)}, {}, kRoomy, kNow).empty());
  CHECK(ImagesToRemove({}, {}, {}, {}, kNow).empty());
}

}  // namespace
}  // namespace dstack::shim
