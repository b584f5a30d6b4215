#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include "libs/base/mutex.h"

namespace dstack::rpc {

// The sending side of a server stream: a bounded queue between a producer on any thread and the
// wire, with one write in flight as gRPC wants it. Owns itself until the call is over, and
// producers share it.
//
// A producer that pushes calls Offer() and treats false as "too slow". A producer that pulls sets
// OnWritable and makes the next message when it is called. Thread-safe; callbacks run on gRPC's
// threads without a lock held and must return at once.
template <typename Message>
class StreamWriter final : public grpc::ServerWriteReactor<Message> {
 public:
  // `capacity`: messages held, the one that is being written included; at least 1.
  static std::shared_ptr<StreamWriter> Create(std::size_t capacity) {
    auto writer = std::shared_ptr<StreamWriter>(new StreamWriter(capacity));
    writer->self_ = writer;
    return writer;
  }

  // Called after each write, when there is room for a message. Set before the first Offer().
  void OnWritable(std::function<void()> callback) {
    base::MutexLock lock(mutex_);
    on_writable_ = std::move(callback);
  }

  // Called once when the client has left or the stream has ended; nothing can be sent any more.
  // Called at once if that is so already.
  void OnClosed(std::function<void()> callback) {
    {
      base::MutexLock lock(mutex_);
      if (!is_closed_) {
        on_closed_ = std::move(callback);
        return;
      }
    }
    callback();
  }

  // Queues a message. False: the queue is full, or nothing can be sent any more.
  bool Offer(Message message) {
    base::MutexLock lock(mutex_);
    if (is_closed_ || final_status_ || queue_.size() >= capacity_) return false;
    queue_.push_back(std::move(message));
    WriteNext();
    return true;
  }

  // A message may be offered.
  bool IsWritable() const {
    base::MutexLock lock(mutex_);
    return !is_closed_ && !final_status_ && queue_.size() < capacity_;
  }

  bool IsClosed() const {
    base::MutexLock lock(mutex_);
    return is_closed_;
  }

  // Ends the stream after what is queued. Later calls have no effect.
  void Finish(grpc::Status status) {
    base::MutexLock lock(mutex_);
    if (final_status_) return;
    final_status_ = std::move(status);
    FinishWhenIdle();
  }

  void OnWriteDone(bool ok) override {
    std::function<void()> callback;
    {
      base::MutexLock lock(mutex_);
      is_writing_ = false;
      queue_.pop_front();
      if (!ok) Close();
      if (is_closed_) queue_.clear();
      WriteNext();
      if (!is_closed_ && !final_status_ && queue_.size() < capacity_) callback = on_writable_;
      FinishWhenIdle();
    }
    if (callback) callback();
  }

  void OnCancel() override {
    {
      base::MutexLock lock(mutex_);
      Close();
      if (!is_writing_) queue_.clear();
      FinishWhenIdle();
    }
    NotifyClosed();
  }

  void OnDone() override {
    {
      base::MutexLock lock(mutex_);
      is_closed_ = true;
    }
    NotifyClosed();
    // May destroy this object.
    std::shared_ptr<StreamWriter> self = std::move(self_);
  }

 private:
  explicit StreamWriter(std::size_t capacity) : capacity_(capacity) {}

  void Close() REQUIRES(mutex_) {
    is_closed_ = true;
    // gRPC wants every call finished, also one that nobody listens to.
    if (!final_status_) final_status_ = grpc::Status::CANCELLED;
  }

  void WriteNext() REQUIRES(mutex_) {
    if (is_writing_ || queue_.empty() || is_finished_) return;
    is_writing_ = true;
    this->StartWrite(&queue_.front());
  }

  void FinishWhenIdle() REQUIRES(mutex_) {
    if (!final_status_ || is_finished_ || is_writing_ || !queue_.empty()) return;
    is_finished_ = true;
    grpc::ServerWriteReactor<Message>::Finish(*final_status_);
  }

  void NotifyClosed() {
    std::function<void()> callback;
    std::function<void()> dropped;
    {
      base::MutexLock lock(mutex_);
      callback = std::move(on_closed_);
      on_closed_ = nullptr;
      // It may hold the producer, which holds this object.
      dropped = std::move(on_writable_);
      on_writable_ = nullptr;
    }
    if (callback) callback();
  }

  const std::size_t capacity_;
  mutable base::Mutex mutex_;
  std::deque<Message> queue_ GUARDED_BY(mutex_);  // the front is being written while is_writing_
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_closed_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> final_status_ GUARDED_BY(mutex_);
  std::function<void()> on_writable_ GUARDED_BY(mutex_);
  std::function<void()> on_closed_ GUARDED_BY(mutex_);
  std::shared_ptr<StreamWriter> self_;
};

}  // namespace dstack::rpc
