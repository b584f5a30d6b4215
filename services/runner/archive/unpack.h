#pragma once

#include <optional>
#include <string>

#include <absl/status/status.h>
#include <sys/types.h>

namespace dstack::runner {

struct Ownership {
  uid_t uid = 0;
  gid_t gid = 0;
};

// Unpacks an uncompressed tar so that the first component of every path in it becomes `destination`
// (absolute; its parent exists). Refused with INVALID_ARGUMENT, naming the entry: absolute paths,
// "..", links that lead out of the archive, writing through a link, devices and FIFOs. Mode bits
// beyond 0777 are dropped. `owner` absent: everything belongs to this process's user. What was
// unpacked before an error stays.
absl::Status Unpack(const std::string& archive,
                    const std::string& destination,
                    const std::optional<Ownership>& owner);

}  // namespace dstack::runner
