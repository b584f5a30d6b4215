#pragma once

#include <algorithm>
#include <chrono>
#include <future>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

namespace dstack::shim {

// For calls without a deadline.
inline constexpr std::chrono::seconds kDefaultWait{30};

// Waits for an answer that another thread gives, as long as the caller does.
template <typename T>
absl::StatusOr<T> Await(const grpc::ServerContext& context, std::future<absl::StatusOr<T>> future) {
  const auto limit = std::chrono::system_clock::now() + kDefaultWait;
  if (future.wait_until(std::min(limit, context.deadline())) == std::future_status::ready) {
    return future.get();
  }
  return absl::DeadlineExceededError("the task takes longer; the request stays in force");
}

}  // namespace dstack::shim
