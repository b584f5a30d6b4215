#include "services/server/api/run_watch.h"

#include <utility>

#include "libs/base/status.h"

namespace dstack::server {

void RunWatch::Start(const std::shared_ptr<WatchCall>& call,
                     WatchHub& hub,
                     const base::Clock& clock,
                     const HostKeyOf& host_key_of,
                     const RunId& run,
                     std::uint64_t after_version) {
  auto self = std::shared_ptr<RunWatch>(new RunWatch(call, clock, host_key_of, after_version));
  // The writer keeps the watch alive, and lets go when the call is over.
  call->writer().OnWritable([self] { self->SendNewest(); });
  call->OnOver([self] { self->Stop(); });
  auto watch = hub.Add(
      run,
      [weak = std::weak_ptr<RunWatch>(self)](const absl::StatusOr<WatchHub::Snapshot>& report) {
        if (auto alive = weak.lock()) alive->OnReport(report);
      });
  base::MutexLock lock(self->mutex_);
  if (!self->is_over_) self->watch_ = std::move(watch);
}

void RunWatch::OnReport(const absl::StatusOr<WatchHub::Snapshot>& run) {
  if (!run.ok()) {
    // A database that is away for a moment is no reason to end: the next notification or sweep
    // looks again.
    if (base::IsTransient(run.status())) return;
    if (auto call = call_.lock()) call->Finish(run.status());
    return;
  }
  {
    base::MutexLock lock(mutex_);
    newest_ = *run;
  }
  SendNewest();
}

void RunWatch::SendNewest() {
  auto call = call_.lock();
  if (!call) return;
  WatchHub::Snapshot snapshot;
  {
    base::MutexLock lock(mutex_);
    if (!newest_) return;
    const bool is_news = newest_->run.version > sent_version_;
    const bool is_final = IsFinal(newest_->run.status);
    if (is_news && !call->writer().IsWritable()) return;
    // The client knows the final state already: nothing to send, but the stream ends.
    if (!is_news && !is_final) return;
    if (is_news) snapshot = newest_;
    sent_version_ = std::max(sent_version_, newest_->run.version);
    if (!is_final) {
      newest_.reset();
    }
    if (snapshot) {
      api::v1::WatchRunResponse response;
      *response.mutable_run() = ToProto(*snapshot, {clock_.Now(), host_key_of_});
      call->writer().Offer(std::move(response));
    }
    if (!is_final) return;
  }
  call->Finish(absl::OkStatus());
}

void RunWatch::Stop() {
  std::unique_ptr<WatchHub::Watch> watch;
  base::MutexLock lock(mutex_);
  is_over_ = true;
  watch = std::move(watch_);
}

}  // namespace dstack::server
