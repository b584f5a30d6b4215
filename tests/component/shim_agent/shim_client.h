#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/base/mutex.h"

namespace dstack::shim {

// The server's end of a session. A thread reads; each Await fails the test when its thing does not
// come.
class ShimClient {
 public:
  struct Settings {
    std::uint64_t epoch = 1;
    std::string server_id = "server-1";
    std::uint32_t protocol_version = 1;
    bool wants_metrics_batches = false;
  };

  ShimClient(const std::string& target, Settings settings);
  explicit ShimClient(const std::string& target) : ShimClient(target, Settings{}) {}
  // Cuts the session.
  ~ShimClient();

  void Submit(const v1::TaskSpec& spec);
  void Terminate(const std::string& task_id,
                 double grace_seconds,
                 const std::string& message = "stop");
  void Remove(const std::string& task_id);
  void Write(const v1::SessionRequest& request);

  v1::ShimHello AwaitHello();
  void AwaitSynced();
  // False: the session was closed before, as a shim that is leaving does.
  bool AwaitSyncedOrClosed();
  v1::TaskStatus AwaitState(const std::string& task_id, v1::TaskState state);
  void AwaitRemoved(const std::string& task_id);
  v1::CommandFailed AwaitFailure();
  grpc::Status AwaitClosed();
  // The newest one.
  v1::UpgradeStatus AwaitUpgrade(v1::UpgradeState state);
  v1::ComponentStatus AwaitComponent(const std::string& sha256, v1::ComponentState state);
  v1::DrainStatus AwaitDrain(bool is_draining, std::uint32_t live_tasks);

  // The first facts, in hello or later, that fit.
  v1::HostFacts AwaitFacts(const std::function<bool(const v1::HostFacts&)>& fits);
  // At least so many samples, from batches, in the order in which they came.
  std::vector<v1::HostMetrics> AwaitSamples(std::size_t count);
  // Newest status; default if none came.
  v1::TaskStatus Status(const std::string& task_id) const;
  // States in the order in which they were told.
  std::vector<v1::TaskState> States(const std::string& task_id) const;
  std::vector<v1::PullProgress> Progress(const std::string& task_id) const;
  std::size_t tasks_before_sync() const;
  bool IsRemoved(const std::string& task_id) const;
  v1::ShimService::Stub& stub() { return *stub_; }

 private:
  void Read();
  void Handle(const v1::SessionResponse& response);
  void Await(const std::string& what, const std::function<bool()>& condition) const;

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ShimService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;

  mutable base::Mutex mutex_;
  std::optional<v1::ShimHello> hello_ GUARDED_BY(mutex_);
  bool is_synced_ GUARDED_BY(mutex_) = false;
  std::size_t tasks_before_sync_ GUARDED_BY(mutex_) = 0;
  std::map<std::string, v1::TaskStatus> statuses_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<v1::TaskState>> states_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<v1::PullProgress>> progress_ GUARDED_BY(mutex_);
  std::set<std::string> removed_ GUARDED_BY(mutex_);
  std::vector<v1::CommandFailed> failures_ GUARDED_BY(mutex_);
  v1::UpgradeStatus upgrade_ GUARDED_BY(mutex_);
  std::map<std::string, v1::ComponentStatus> components_ GUARDED_BY(mutex_);
  std::optional<v1::DrainStatus> drain_ GUARDED_BY(mutex_);
  v1::HostFacts facts_ GUARDED_BY(mutex_);
  std::vector<v1::HostMetrics> samples_ GUARDED_BY(mutex_);
  std::optional<grpc::Status> closed_ GUARDED_BY(mutex_);
  std::uint64_t sequence_ GUARDED_BY(mutex_) = 0;
  std::string defect_ GUARDED_BY(mutex_);
  std::thread reader_;
};

}  // namespace dstack::shim
