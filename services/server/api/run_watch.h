#pragma once

#include <cstdint>
#include <memory>

#include "dstack/api/v1/run_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "services/server/api/convert.h"
#include "services/server/api/stream_call.h"
#include "services/server/api/watch_hub.h"

namespace dstack::server {

using WatchCall = StreamCall<api::v1::WatchRunResponse>;

// One watcher of a run: sends what the hub reports, the newest only when the client is slower than
// the run changes, and ends the stream when the run is final. Lives as long as its call.
class RunWatch final : public std::enable_shared_from_this<RunWatch> {
 public:
  // Sends versions above `after_version`. References outlive the watch.
  static void Start(const std::shared_ptr<WatchCall>& call,
                    WatchHub& hub,
                    const base::Clock& clock,
                    const HostKeyOf& host_key_of,
                    const RunId& run,
                    std::uint64_t after_version);

 private:
  RunWatch(const std::shared_ptr<WatchCall>& call,
           const base::Clock& clock,
           const HostKeyOf& host_key_of,
           std::uint64_t after_version)
      : call_(call), clock_(clock), host_key_of_(host_key_of), sent_version_(after_version) {}

  void OnReport(const absl::StatusOr<WatchHub::Snapshot>& run);
  void SendNewest();
  void Stop();

  const std::weak_ptr<WatchCall> call_;
  const base::Clock& clock_;
  const HostKeyOf& host_key_of_;
  base::Mutex mutex_;
  WatchHub::Snapshot newest_ GUARDED_BY(mutex_);
  std::uint64_t sent_version_ GUARDED_BY(mutex_);
  std::unique_ptr<WatchHub::Watch> watch_ GUARDED_BY(mutex_);
  bool is_over_ GUARDED_BY(mutex_) = false;
};

}  // namespace dstack::server
