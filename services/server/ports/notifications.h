#pragma once

#include <functional>
#include <memory>
#include <string>

namespace dstack::server {

// Channels of the database that all replicas listen to. A notification is a hint: whoever waits
// also looks again after a while.
namespace channel {
inline constexpr const char* kWork =
    "dstack_work";  // payload: "jobs" (scheduler) or "runs" (run reconciler)
inline constexpr const char* kHost =
    "dstack_host";  // payload: instance id whose jobs or wishes changed, or "claim" for new hosts
inline constexpr const char* kRun = "dstack_run";  // payload: run id that changed
inline constexpr const char* kLog =
    "dstack_log";  // payload: <job id>:<source number>:<last sequence>:<0|1 ended>
}  // namespace channel

// Ends the subscription when destroyed; no callback runs after that.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

// Fans notifications out to subscribers of this process.
class Notifications {
 public:
  virtual ~Notifications() = default;
  // The callback runs on the listener's thread and must return at once. After a reconnect of the
  // listener every subscriber gets one call with an empty payload: anything may have been missed.
  virtual std::unique_ptr<Subscription> Subscribe(
      const std::string& channel, std::function<void(const std::string& payload)> callback) = 0;
};

}  // namespace dstack::server
