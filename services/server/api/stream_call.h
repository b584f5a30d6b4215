#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "libs/exec/executor.h"
#include "libs/rpc/gate.h"
#include "libs/rpc/stream_writer.h"
#include "services/server/api/open_streams.h"

namespace dstack::server {

// One server-streaming call: the gate's work before and after it, the writer, and its end when the
// server stops. Shared by whoever produces for it; kept alive by the writer until the call is over.
// Thread-safe.
template <typename Message>
class StreamCall final : public std::enable_shared_from_this<StreamCall<Message>> {
 public:
  struct Services {
    rpc::Gate& gate;
    OpenStreams& open_streams;
    exec::Executor& pool;  // where blocking work of streams is done
  };

  // Called on gRPC's thread: returns at once with the reactor for gRPC, and runs `start` on the
  // pool once the caller is known. When the call is over, `start`'s argument has been released by
  // this class.
  using Start = std::function<void(std::shared_ptr<StreamCall> call)>;
  static grpc::ServerWriteReactor<Message>* Begin(const Services& services,
                                                  grpc::CallbackServerContext& context,
                                                  const rpc::Method& method,
                                                  std::size_t capacity,
                                                  Start start) {
    auto call = std::shared_ptr<StreamCall>(new StreamCall(services, context, method, capacity));
    auto* reactor = call->writer_.get();
    call->stream_id_ =
        services.open_streams.Add([weak = std::weak_ptr(call)](const absl::Status& status) {
          if (auto alive = weak.lock()) alive->Finish(status);
        });
    call->writer_->OnClosed([call] { call->OnClosed(); });
    services.pool.Post([call, start = std::move(start)] {
      const absl::Status status = call->gate_.Authenticate(call->method_, call->admission_);
      if (!status.ok()) {
        call->Finish(status);
      } else if (!call->IsClosed()) {
        start(call);
      }
    });
    return reactor;
  }

  const rpc::Caller& caller() const { return admission_.caller; }
  rpc::StreamWriter<Message>& writer() { return *writer_; }
  bool IsClosed() const { return writer_->IsClosed(); }

  // Called once when the call is over, on gRPC's thread; at once if it is. One producer sets it.
  void OnOver(std::function<void()> callback) {
    {
      base::MutexLock lock(mutex_);
      if (!is_over_) {
        on_over_ = std::move(callback);
        return;
      }
    }
    callback();
  }

  // Ends the stream; the first status counts.
  void Finish(const absl::Status& status) {
    if (is_concluded_.exchange(true)) return;
    writer_->Finish(gate_.Conclude(method_, admission_, status));
  }

  // Whether the token is still good: for streams that stay open for long. Blocks.
  absl::Status AuthenticateAgain() const {
    rpc::Gate::Admission admission = admission_;
    return gate_.Authenticate(method_, admission);
  }

 private:
  StreamCall(const Services& services,
             grpc::CallbackServerContext& context,
             const rpc::Method& method,
             std::size_t capacity)
      : gate_(services.gate),
        open_streams_(services.open_streams),
        method_(method),
        admission_(gate_.Admit(context, method)),
        writer_(rpc::StreamWriter<Message>::Create(capacity)) {}

  void OnClosed() {
    open_streams_.Remove(stream_id_);
    if (!is_concluded_.exchange(true)) {
      gate_.Conclude(method_, admission_, absl::CancelledError("the client left"));
    }
    std::function<void()> callback;
    {
      base::MutexLock lock(mutex_);
      is_over_ = true;
      callback = std::move(on_over_);
      on_over_ = nullptr;
    }
    if (callback) callback();
  }

  rpc::Gate& gate_;
  OpenStreams& open_streams_;
  const rpc::Method method_;
  rpc::Gate::Admission admission_;  // constant from the start of the producer on
  const std::shared_ptr<rpc::StreamWriter<Message>> writer_;
  std::uint64_t stream_id_ = 0;
  std::atomic<bool> is_concluded_{false};
  base::Mutex mutex_;
  bool is_over_ GUARDED_BY(mutex_) = false;
  std::function<void()> on_over_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server
