#pragma once

#include <deque>
#include <memory>
#include <optional>

#include <grpcpp/grpcpp.h>

#include "dstack/runner/v1/runner_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "services/runner/loop/event_loop.h"
#include "services/runner/serve/core.h"
#include "services/runner/serve/session.h"

namespace dstack::runner {

// A Session on the wire. gRPC's threads only move messages between the wire and the queue, and post
// to the loop; the core decides. Keeps itself alive until gRPC is done with it.
class GrpcSession final : public Session,
                          public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                          public std::enable_shared_from_this<GrpcSession> {
 public:
  // Loop and core outlive all sessions.
  static GrpcSession* Start(EventLoop& loop, ServeCore& core);

  void Send(v1::SessionResponse response) override;
  std::size_t queued_bytes() const override;
  void ReadNext() override;
  void Finish(const absl::Status& status) override;

 private:
  using Reactor = grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>;

  GrpcSession(EventLoop& loop, ServeCore& core) : loop_(loop), core_(core) {}

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void FinishWith(const grpc::Status& status);
  void Advance() REQUIRES(mutex_);

  EventLoop& loop_;
  ServeCore& core_;
  std::shared_ptr<GrpcSession> self_;  // until OnDone
  v1::SessionRequest request_;         // the read in flight

  mutable base::Mutex mutex_;
  std::deque<v1::SessionResponse> queue_ GUARDED_BY(mutex_);  // the front is being written
  std::size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> finish_ GUARDED_BY(mutex_);
};

}  // namespace dstack::runner
