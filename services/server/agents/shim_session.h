#pragma once

#include <memory>
#include <string>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "absl/status/status.h"
#include "libs/base/clock.h"
#include "libs/exec/executor.h"
#include "libs/rpc/bidi_stream.h"

namespace dstack::server {

// The server's side of a shim's session. Belongs to one serial executor: all methods and events run
// there.
class ShimSession : public std::enable_shared_from_this<ShimSession> {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnShimHello(const shim::v1::ShimHello& hello) = 0;
    virtual void OnTaskStatus(const shim::v1::TaskStatus& status) = 0;
    virtual void OnTaskRemoved(const std::string& task_id) = 0;
    // Every task that the host holds has been reported.
    virtual void OnSyncDone() = 0;
    virtual void OnHostFacts(const shim::v1::HostFacts& facts) = 0;
    virtual void OnHostMetrics(const shim::v1::HostMetricsBatch& batch) = 0;
    virtual void OnCommandFailed(const shim::v1::CommandFailed& failure) = 0;
    virtual void OnDrainStatus(const shim::v1::DrainStatus& status) = 0;
    virtual void OnComponentStatus(const shim::v1::ComponentStatus& status) = 0;
    virtual void OnUpgradeStatus(const shim::v1::UpgradeStatus& status) = 0;
    // Last event. DEADLINE_EXCEEDED when the shim was silent for three heartbeats.
    virtual void OnShimSessionEnded(const absl::Status& status) = 0;
  };
  struct Options {
    std::string socket;  // local
    shim::v1::ServerHello hello;
    std::chrono::milliseconds hello_timeout{10'000};
  };

  // Opens the session. The other arguments outlive the object or Close() is called before they go.
  static std::shared_ptr<ShimSession> Open(exec::TimedExecutor& executor,
                                           const base::Clock& clock,
                                           Events& events,
                                           const Options& options);

  void Send(shim::v1::SessionRequest request);
  // No event comes after this. Idempotent.
  void Close();

 private:
  using Stream = rpc::BidiStream<shim::v1::SessionRequest, shim::v1::SessionResponse>;

  ShimSession(exec::TimedExecutor& executor, const base::Clock& clock, Events& events);
  void Begin(const Options& options);
  void OnMessage(const shim::v1::SessionResponse& response);
  void Dispatch(const shim::v1::SessionResponse& response);
  void OnDone(const absl::Status& status);
  void WatchSilence();

  exec::TimedExecutor& executor_;
  const base::Clock& clock_;
  Events* events_;  // null once closed
  Stream::Pointer stream_;
  exec::TimerHandle silence_timer_;
  base::Duration silence_limit_;
  base::MonotonicTime last_message_at_;
  bool was_silent_ = false;
};

}  // namespace dstack::server
