#pragma once

#include <compare>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace dstack::base {

// A string that identifies one kind of thing. Ids of different kinds do not convert into each other
// and are made from text only explicitly. Empty means "none".
template <typename Tag>
class Id {
 public:
  Id() = default;
  explicit Id(std::string value) : value_(std::move(value)) {}
  explicit Id(std::string_view value) : value_(value) {}
  explicit Id(const char* value) : value_(value) {}

  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }

  friend bool operator==(const Id&, const Id&) = default;
  friend std::strong_ordering operator<=>(const Id& a, const Id& b) {
    return a.value_.compare(b.value_) <=> 0;
  }
  friend std::ostream& operator<<(std::ostream& out, const Id& id) { return out << id.value_; }
  // Abseil containers.
  template <typename H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  std::string value_;
};

}  // namespace dstack::base

template <typename Tag>
struct std::hash<dstack::base::Id<Tag>> {
  std::size_t operator()(const dstack::base::Id<Tag>& id) const noexcept {
    return std::hash<std::string>{}(id.str());
  }
};

template <typename Tag>
struct fmt::formatter<dstack::base::Id<Tag>> : fmt::formatter<fmt::string_view> {
  template <typename Context>
  auto format(const dstack::base::Id<Tag>& id, Context& context) const {
    return fmt::formatter<fmt::string_view>::format(id.str(), context);
  }
};

namespace dstack {

using UserId = base::Id<struct UserTag>;
using ProjectId = base::Id<struct ProjectTag>;
using RunId = base::Id<struct RunTag>;
// One submission of one job of a run. It is also the task's id on the host and the container's
// label.
using JobId = base::Id<struct JobTag>;
using TaskId = JobId;
using FleetId = base::Id<struct FleetTag>;
using InstanceId = base::Id<struct InstanceTag>;
// A machine that runs a shim. It outlives instances that come and go on it.
using HostId = base::Id<struct HostTag>;
using VolumeId = base::Id<struct VolumeTag>;
using GatewayId = base::Id<struct GatewayTag>;
using BackendId = base::Id<struct BackendTag>;
using SecretId = base::Id<struct SecretTag>;
using FileId = base::Id<struct FileTag>;
using EventId = base::Id<struct EventTag>;
using TokenId = base::Id<struct TokenTag>;
// A server process.
using ReplicaId = base::Id<struct ReplicaTag>;
// Chosen by the caller of a write; the same id gives the same answer.
using RequestId = base::Id<struct RequestTag>;

}  // namespace dstack
