#include "services/runner/serve/grpc_session.h"

#include <utility>

#include "libs/rpc/status_mapping.h"

namespace dstack::runner {

GrpcSession* GrpcSession::Start(EventLoop& loop, ServeCore& core) {
  std::shared_ptr<GrpcSession> session(new GrpcSession(loop, core));
  session->self_ = session;
  session->StartRead(&session->request_);
  return session.get();
}

void GrpcSession::Send(v1::SessionResponse response) {
  base::MutexLock lock(mutex_);
  if (finish_.has_value()) return;
  queued_bytes_ += response.ByteSizeLong();
  queue_.push_back(std::move(response));
  Advance();
}

std::size_t GrpcSession::queued_bytes() const {
  base::MutexLock lock(mutex_);
  return queued_bytes_;
}

void GrpcSession::ReadNext() {
  // Under the lock, because no read may start behind the end.
  base::MutexLock lock(mutex_);
  if (!finish_.has_value()) StartRead(&request_);
}

void GrpcSession::Finish(const absl::Status& status) { FinishWith(rpc::ToGrpc(status)); }

void GrpcSession::FinishWith(const grpc::Status& status) {
  base::MutexLock lock(mutex_);
  if (finish_.has_value()) return;
  finish_ = status;
  // What is on the wire stays; the rest is only worth sending before a good end.
  if (!status.ok() && !queue_.empty()) {
    queue_.erase(queue_.begin() + (is_writing_ ? 1 : 0), queue_.end());
  }
  Advance();
}

// Starts whatever is next: a write, or the end. Reactor calls do not call back before they return.
void GrpcSession::Advance() {
  if (is_writing_ || is_finished_) return;
  if (!queue_.empty()) {
    is_writing_ = true;
    StartWrite(&queue_.front());
  } else if (finish_.has_value()) {
    is_finished_ = true;
    Reactor::Finish(*finish_);
  }
}

void GrpcSession::OnReadDone(bool ok) {
  if (!ok) return FinishWith(grpc::Status::OK);  // the client has closed its side
  auto self = shared_from_this();
  const bool is_posted =
      loop_.Post([self, request = std::move(request_)] { self->core_.OnRequest(self, request); });
  if (!is_posted) FinishWith({grpc::StatusCode::UNAVAILABLE, "the runner is stopping"});
}

void GrpcSession::OnWriteDone(bool ok) {
  {
    base::MutexLock lock(mutex_);
    is_writing_ = false;
    queued_bytes_ -= queue_.front().ByteSizeLong();
    queue_.pop_front();
    if (!ok) {
      queue_.clear();
      if (!finish_.has_value()) finish_ = grpc::Status::CANCELLED;
    }
    Advance();
  }
  auto self = shared_from_this();
  loop_.Post([self] { self->core_.OnWritable(self); });
}

void GrpcSession::OnCancel() { FinishWith(grpc::Status::CANCELLED); }

void GrpcSession::OnDone() {
  const auto self = std::move(self_);
  loop_.Post([self] { self->core_.OnClosed(self); });
}

}  // namespace dstack::runner
