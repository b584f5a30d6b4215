#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "libs/base/file.h"
#include "libs/docker/endpoint.h"
#include "libs/docker/http.h"

namespace dstack::docker {

// One call on a non-blocking connection of its own, driven from outside by poll(2). Not
// thread-safe. Internal to this library.
class Transfer {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Transfer(Endpoint endpoint, HttpRequest request);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Does what can be done without waiting. The outcome once there is one; afterwards the object is
  // of no more use.
  std::optional<absl::StatusOr<HttpResponse>> Advance();

  // What to wait for before the next Advance(); -1 while there is no connection.
  int fd() const { return fd_.get(); }
  short events() const;
  // When to call Advance() at the latest.
  TimePoint deadline() const;

 private:
  class Parser;
  enum class Phase { kConnecting, kSending, kReading };

  absl::Status CheckTime() const;
  absl::Status Connect();
  absl::Status Send();
  absl::StatusOr<bool> Receive();
  absl::StatusOr<bool> Parse(std::string_view data);
  std::string MakeHead() const;

  const Endpoint endpoint_;
  const HttpRequest request_;
  base::UniqueFd fd_;
  Phase phase_ = Phase::kConnecting;
  std::string head_;
  std::size_t sent_ = 0;  // of head and body together
  std::string pending_;   // received and not yet understood
  std::unique_ptr<Parser> parser_;
  const TimePoint start_ = std::chrono::steady_clock::now();
  TimePoint last_data_ = start_;
};

}  // namespace dstack::docker
