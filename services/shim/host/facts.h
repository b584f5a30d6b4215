#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dstack/common/v1/resources.pb.h"
#include "dstack/shim/v1/host.pb.h"

#include "services/shim/ports/container_runtime.h"

namespace dstack::shim {

// Reads what the host is. Cheap: files of /proc and some system calls.
v1::HostFacts ReadHostFacts(const RuntimeFacts& runtime, const std::vector<common::v1::Gpu>& gpus);

// Capabilities that no process here can have: names of those that are absent from CapBnd of
// /proc/self/status, given as its text, up to the kernel's last one. An engine cannot give them to
// a privileged container, and refuses it.
std::vector<std::string> MissingCapabilities(std::string_view proc_status, int last_capability);

// The same for this host.
std::vector<std::string> MissingCapabilitiesHere();

// Addresses in CIDR form, without loopback, link-local ones and the engine's own bridges.
std::vector<std::string> HostAddresses();

// Network interfaces that an engine makes for its containers.
bool IsEngineInterface(std::string_view name);

// Number after "<key>:" in /proc/meminfo, in bytes; 0 when it is not there.
std::uint64_t MeminfoBytes(std::string_view meminfo, std::string_view key);

}  // namespace dstack::shim
