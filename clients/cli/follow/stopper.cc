#include "clients/cli/follow/stopper.h"

#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace dstack::cli {

Stopper::Stopper() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Stopper::Stop() {
  base::MutexLock lock(mutex_);
  stopped_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable anyway.
  [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof(one));
}

bool Stopper::is_stopped() const {
  base::MutexLock lock(mutex_);
  return stopped_;
}

bool Stopper::Wait(std::chrono::milliseconds duration) {
  pollfd event{event_.get(), POLLIN, 0};
  poll(&event, 1, static_cast<int>(duration.count()));
  return !is_stopped();
}

Stopper::Call::Call(Stopper& stopper, grpc::ClientContext& context)
    : stopper_(stopper), context_(context) {
  base::MutexLock lock(stopper_.mutex_);
  stopper_.contexts_.insert(&context);
  if (stopper_.stopped_) context.TryCancel();
}

Stopper::Call::~Call() {
  base::MutexLock lock(stopper_.mutex_);
  stopper_.contexts_.erase(&context_);
}

}  // namespace dstack::cli
