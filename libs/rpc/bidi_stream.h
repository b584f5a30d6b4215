#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include <absl/status/status.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "libs/base/mutex.h"
#include "libs/exec/executor.h"
#include "libs/rpc/callback_threads.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::rpc {

// Client side of a bidirectional stream, between gRPC's threads and one executor. Reading is
// explicit: one message is delivered, then the owner asks for the next one, so that a slow owner
// slows the sender down and nothing piles up here. Thread-safe. Lives until gRPC is done with it,
// whoever lets go first.
template <typename Request, typename Response>
class BidiStream final : public grpc::ClientBidiReactor<Request, Response> {
 public:
  using Reactor = grpc::ClientBidiReactor<Request, Response>;
  using Pointer = std::shared_ptr<BidiStream>;

  // Called on the executor, in order. on_done is the last one and comes exactly once, unless the
  // stream was detached.
  struct Handlers {
    std::function<void(Response)> on_message;
    std::function<void(absl::Status)> on_done;
  };
  // Starts the call: `stub.async()->Session(context, reactor)`.
  using Begin = std::function<void(grpc::ClientContext*, Reactor*)>;
  // Metadata and deadline of the call.
  using Prepare = std::function<void(grpc::ClientContext&)>;

  // Opens the stream and reads the first message. `executor` outlives the stream or it is detached
  // before. The channel of the stub stays alive through the call.
  static Pointer Start(exec::Executor& executor,
                       Handlers handlers,
                       const Prepare& prepare,
                       const Begin& begin) {
    KeepCallbackThreads();
    Pointer stream(new BidiStream(executor, std::move(handlers)));
    stream->self_ = stream;
    if (prepare) prepare(stream->context_);
    begin(&stream->context_, stream.get());
    // Writes are started from other threads than gRPC's: the hold keeps the call open for them.
    stream->AddHold();
    stream->StartRead(&stream->incoming_);
    stream->StartCall();
    return stream;
  }

  // Puts a message into the queue; dropped when the stream has ended. The owner bounds the queue.
  void Send(Request request) {
    base::MutexLock lock(mutex_);
    if (is_ending_) return;
    queue_.push_back(std::move(request));
    WriteNext();
  }

  // Messages that gRPC has not taken yet.
  std::size_t queued() const {
    base::MutexLock lock(mutex_);
    return queue_.size();
  }

  // The next message is wanted. Once for each delivered message.
  void ReadNext() {
    base::MutexLock lock(mutex_);
    if (is_ending_) return;
    this->StartRead(&incoming_);
  }

  // Ends the call; on_done follows.
  void Cancel() {
    context_.TryCancel();
    Finish();
  }

  // Ends the call. No handler is posted after this returned.
  void Detach() {
    {
      base::MutexLock lock(mutex_);
      executor_ = nullptr;
    }
    Cancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish();
      return;
    }
    base::MutexLock lock(mutex_);
    if (executor_ == nullptr) return;
    auto message = std::make_shared<Response>(std::move(incoming_));
    incoming_ = Response();
    executor_->Post([self = self_, message] { self->handlers_.on_message(std::move(*message)); });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish();
      return;
    }
    base::MutexLock lock(mutex_);
    is_writing_ = false;
    if (!queue_.empty()) queue_.pop_front();
    if (!is_ending_) WriteNext();
  }

  void OnDone(const grpc::Status& status) override {
    Pointer self;
    {
      base::MutexLock lock(mutex_);
      self = std::move(self_);
      if (executor_ != nullptr) {
        executor_->Post([self, error = FromGrpc(status)] { self->handlers_.on_done(error); });
      }
    }
  }

 private:
  BidiStream(exec::Executor& executor, Handlers handlers)
      : handlers_(std::move(handlers)), executor_(&executor) {}

  // No operation is started after this, so the hold can go.
  void Finish() {
    {
      base::MutexLock lock(mutex_);
      if (is_ending_) return;
      is_ending_ = true;
    }
    this->RemoveHold();
  }

  void WriteNext() REQUIRES(mutex_) {
    if (is_writing_ || queue_.empty()) return;
    is_writing_ = true;
    this->StartWrite(&queue_.front());
  }

  const Handlers handlers_;
  grpc::ClientContext context_;
  Response incoming_;
  mutable base::Mutex mutex_;
  exec::Executor* executor_ GUARDED_BY(mutex_);
  std::deque<Request> queue_ GUARDED_BY(mutex_);  // the front is being written while is_writing_
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_ending_ GUARDED_BY(mutex_) = false;
  Pointer self_ GUARDED_BY(mutex_);
};

}  // namespace dstack::rpc
