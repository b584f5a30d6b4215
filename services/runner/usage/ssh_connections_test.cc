#include "services/runner/usage/ssh_connections.h"

#include <catch2/catch.hpp>

namespace dstack::runner {
namespace {

using namespace std::chrono_literals;

const base::MonotonicTime kStart = base::MonotonicTime(1000s);

std::vector<SshConnection> Peers(const std::vector<std::string>& peers) {
  std::vector<SshConnection> connections;
  for (const std::string& peer : peers) connections.push_back({.peer = peer});
  return connections;
}

TEST_CASE("C1 inactivity is zero at first and counts while only young connections exist") {
  SshInactivity activity;
  CHECK(activity.Update(kStart, {}).inactive == 0s);
  CHECK(activity.Update(kStart + 5s, Peers({"a"})).inactive == 5s);
  CHECK(activity.Update(kStart + 12s, Peers({"a"})).inactive == 12s);
  // Another one from the same address has another port.
  CHECK(activity.Update(kStart + 16s, Peers({"b"})).inactive == 16s);
}

TEST_CASE("C1 inactivity is zero with an old connection and counts after its end") {
  SshInactivity activity;
  activity.Update(kStart, Peers({"a"}));
  const auto old = activity.Update(kStart + 10s, Peers({"a", "b"}));
  CHECK(old.inactive == 0s);
  CHECK(old.open == 1);
  CHECK(activity.Update(kStart + 100s, Peers({"a"})).inactive == 0s);
  const auto closed = activity.Update(kStart + 103s, {});
  CHECK(closed.inactive == 3s);
  CHECK(closed.open == 0);
}

TEST_CASE("C1 connections of both protocols are seen, others are not") {
  constexpr char kTcp[] =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
      "   0: 0100007F:2726 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
      "   1: 0100007F:2726 0100007F:C350 01 00000000:00000000 02:000A7214 00000000     0\n"
      "   2: 0100007F:2726 0100007F:C351 06 00000000:00000000 03:000014A2 00000000     0\n"
      "   3: 0100007F:C350 0100007F:2726 01 00000000:00000000 02:000A7214 00000000     0\n"
      "   4: garbage\n";
  constexpr char kTcp6[] =
      "  sl  local_address                         remote_address                        st\n"
      "   0: 00000000000000000000000001000000:2726 00000000000000000000000001000000:C352 01 0:0\n";
  const auto four = ParseNetTcp(kTcp, 10022);
  REQUIRE(four.size() == 1);
  CHECK(four[0].peer == "0100007F:C350");
  const auto six = ParseNetTcp(kTcp6, 10022);
  REQUIRE(six.size() == 1);
  CHECK(six[0].peer == "00000000000000000000000001000000:C352");
  CHECK(ParseNetTcp("", 10022).empty());
}

TEST_CASE("bytes are summed over what is open, and absent where the kernel tells none") {
  SshInactivity activity;
  CHECK_FALSE(activity.Update(kStart, Peers({"a"})).received_bytes.has_value());
  const auto reading = activity.Update(kStart,
                                       {{.peer = "a", .received_bytes = 5, .sent_bytes = 7},
                                        {.peer = "b", .received_bytes = 1, .sent_bytes = 2}});
  CHECK(reading.received_bytes == 6);
  CHECK(reading.sent_bytes == 9);
}

}  // namespace
}  // namespace dstack::runner
