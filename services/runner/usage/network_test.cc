#include "services/runner/usage/network.h"

#include <catch2/catch.hpp>

namespace dstack::runner {
namespace {

constexpr char kDev[] =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
    "    lo: 2776770   11307    0    0    0     0          0         0  2776770   11307    0\n"
    "  eth0: 1215645    2751    0    0    0     0          0         0  1782404    4324    0\n"
    "  eth1:100 1 0 0 0 0 0 0 7 1 0\n"
    "broken: x\n";

TEST_CASE("bytes of all interfaces but loopback") {
  const auto bytes = ParseNetDev(kDev, [](std::string_view) { return false; });
  REQUIRE(bytes.has_value());
  CHECK(bytes->received == 1215745);
  CHECK(bytes->sent == 1782411);
}

TEST_CASE("the host's network says nothing of a job") {
  CHECK_FALSE(ParseNetDev(kDev, [](std::string_view name) { return name == "eth1"; }).has_value());
}

}  // namespace
}  // namespace dstack::runner
