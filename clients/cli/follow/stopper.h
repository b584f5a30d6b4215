// Ends the calls and waits of another thread.
#pragma once

#include <chrono>
#include <set>

#include <grpcpp/client_context.h>

#include "libs/base/file.h"
#include "libs/base/mutex.h"

namespace dstack::cli {

// Thread-safe. Stop is final.
class Stopper {
 public:
  Stopper();
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

  // Cancels the calls that are under way, and all later ones.
  void Stop();
  bool is_stopped() const;

  // Waits; false as soon as Stop was called.
  bool Wait(std::chrono::milliseconds duration);

  // Readable once Stop was called, for waits on several descriptors.
  int stop_fd() const { return event_.get(); }

  // Makes `context` cancellable for the life of this object.
  class Call {
   public:
    Call(Stopper& stopper, grpc::ClientContext& context);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    Stopper& stopper_;
    grpc::ClientContext& context_;
  };

 private:
  base::UniqueFd event_;
  mutable base::Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> contexts_ GUARDED_BY(mutex_);
};

}  // namespace dstack::cli
