// Addresses that are not routed on the public Internet.
#pragma once

#include <string>

#include <absl/status/status.h>

namespace dstack::config {

// OK for a private IPv4 or IPv6 address: RFC 1918, loopback, link-local, unique local and the like
// of the IANA special-purpose registries. 100.64.0.0/10 is not private. The error message is the
// rule, here and below.
absl::Status CheckPrivateAddress(const std::string& address);

// OK for an address with an optional prefix length (`10.0.0.5/24`; bits of a host are allowed)
// whose whole range is private.
absl::Status CheckPrivateNetwork(const std::string& network);

}  // namespace dstack::config
