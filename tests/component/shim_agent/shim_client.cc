#include "tests/component/shim_agent/shim_client.h"

#include <chrono>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 40s;

google::protobuf::Duration ToProto(double seconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(static_cast<std::int64_t>(seconds));
  duration.set_nanos(
      static_cast<std::int32_t>((seconds - static_cast<double>(duration.seconds())) * 1e9));
  return duration;
}

}  // namespace

ShimClient::ShimClient(const std::string& target, Settings settings) {
  // gRPC shares connections between channels of one address; each session gets its own.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  REQUIRE(channel_->WaitForConnected(std::chrono::system_clock::now() + kPatience));
  stub_ = v1::ShimService::NewStub(channel_);
  stream_ = stub_->Session(&context_);
  v1::SessionRequest request;
  request.mutable_hello()->set_server_id(settings.server_id);
  request.mutable_hello()->set_replica_id("replica");
  request.mutable_hello()->set_epoch(settings.epoch);
  request.mutable_hello()->set_protocol_version(settings.protocol_version);
  request.mutable_hello()->set_wants_metrics_batches(settings.wants_metrics_batches);
  stream_->Write(request);
  reader_ = std::thread([this] { Read(); });
}

ShimClient::~ShimClient() {
  context_.TryCancel();
  reader_.join();
  base::MutexLock lock(mutex_);
  CHECK(defect_.empty());
}

void ShimClient::Read() {
  v1::SessionResponse response;
  while (stream_->Read(&response)) Handle(response);
  const grpc::Status status = stream_->Finish();
  base::MutexLock lock(mutex_);
  closed_ = status;
}

void ShimClient::Handle(const v1::SessionResponse& response) {
  base::MutexLock lock(mutex_);
  if (response.sequence() != ++sequence_) defect_ = "sequence has holes";
  if (sequence_ == 1 && !response.has_hello()) defect_ = "hello is not the first";
  if (response.has_hello()) hello_ = response.hello();
  if (response.has_hello()) facts_ = response.hello().facts();
  if (response.has_host_facts()) facts_ = response.host_facts();
  for (const v1::HostMetrics& sample : response.host_metrics_batch().samples()) {
    samples_.push_back(sample);
  }
  if (response.has_sync_done()) is_synced_ = true;
  if (response.has_task_removed()) removed_.insert(response.task_removed().task_id());
  if (response.has_command_failed()) failures_.push_back(response.command_failed());
  if (response.has_upgrade_status()) upgrade_ = response.upgrade_status();
  if (response.has_drain_status()) drain_ = response.drain_status();
  if (response.has_component_status()) {
    components_[response.component_status().component().sha256()] = response.component_status();
  }
  if (!response.has_task_status()) return;
  const v1::TaskStatus& status = response.task_status();
  if (!is_synced_) ++tasks_before_sync_;
  v1::TaskStatus& known = statuses_[status.task_id()];
  if (status.revision() < known.revision()) return;  // as the contract says
  if (status.state() < known.state()) defect_ = "a state went back";
  known = status;
  auto& states = states_[status.task_id()];
  if (states.empty() || states.back() != status.state()) states.push_back(status.state());
  if (status.has_pull_progress()) {
    progress_[status.task_id()].push_back(status.pull_progress());
  }
}

void ShimClient::Write(const v1::SessionRequest& request) { stream_->Write(request); }

void ShimClient::Submit(const v1::TaskSpec& spec) {
  v1::SessionRequest request;
  *request.mutable_submit_task()->mutable_spec() = spec;
  Write(request);
}

void ShimClient::Terminate(const std::string& task_id,
                           double grace_seconds,
                           const std::string& message) {
  v1::SessionRequest request;
  auto* command = request.mutable_terminate_task();
  command->set_task_id(task_id);
  *command->mutable_stop_policy()->mutable_grace() = ToProto(grace_seconds);
  command->set_message(message);
  Write(request);
}

void ShimClient::Remove(const std::string& task_id) {
  v1::SessionRequest request;
  request.mutable_remove_task()->set_task_id(task_id);
  Write(request);
}

void ShimClient::Await(const std::string& what, const std::function<bool()>& condition) const {
  testing::Await(
      kPatience,
      [&] {
        base::MutexLock lock(mutex_);
        return condition();
      },
      [&] {
        base::MutexLock lock(mutex_);
        std::string text = what + "; closed " + (closed_ ? closed_->error_message() : "no");
        for (const auto& [id, status] : statuses_) text += "\n" + status.ShortDebugString();
        text += "\n" + upgrade_.ShortDebugString();
        for (const auto& [id, status] : components_) text += "\n" + status.ShortDebugString();
        for (const auto& failure : failures_) text += "\n" + failure.ShortDebugString();
        return text;
      });
}

v1::ShimHello ShimClient::AwaitHello() {
  Await("waiting for the hello", [&]() NO_THREAD_SAFETY_ANALYSIS { return hello_.has_value(); });
  base::MutexLock lock(mutex_);
  return *hello_;
}

void ShimClient::AwaitSynced() {
  Await("waiting for the first report", [&]() NO_THREAD_SAFETY_ANALYSIS { return is_synced_; });
}

bool ShimClient::AwaitSyncedOrClosed() {
  Await("waiting for the first report or the end",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return is_synced_ || closed_.has_value(); });
  base::MutexLock lock(mutex_);
  return is_synced_;
}

v1::TaskStatus ShimClient::AwaitState(const std::string& task_id, v1::TaskState state) {
  Await("waiting for " + v1::TaskState_Name(state), [&]() NO_THREAD_SAFETY_ANALYSIS {
    const auto it = statuses_.find(task_id);
    return it != statuses_.end() && it->second.state() == state;
  });
  return Status(task_id);
}

void ShimClient::AwaitRemoved(const std::string& task_id) {
  Await("waiting for the removal",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return removed_.contains(task_id); });
}

v1::CommandFailed ShimClient::AwaitFailure() {
  Await("waiting for a refusal", [&]() NO_THREAD_SAFETY_ANALYSIS { return !failures_.empty(); });
  base::MutexLock lock(mutex_);
  const v1::CommandFailed failure = failures_.front();
  failures_.erase(failures_.begin());
  return failure;
}

grpc::Status ShimClient::AwaitClosed() {
  Await("waiting for the end of the session",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return closed_.has_value(); });
  base::MutexLock lock(mutex_);
  return *closed_;
}

v1::UpgradeStatus ShimClient::AwaitUpgrade(v1::UpgradeState state) {
  Await("waiting for " + v1::UpgradeState_Name(state),
        [&]() NO_THREAD_SAFETY_ANALYSIS { return upgrade_.state() == state; });
  base::MutexLock lock(mutex_);
  return upgrade_;
}

v1::ComponentStatus ShimClient::AwaitComponent(const std::string& sha256,
                                               v1::ComponentState state) {
  Await("waiting for " + v1::ComponentState_Name(state), [&]() NO_THREAD_SAFETY_ANALYSIS {
    const auto it = components_.find(sha256);
    return it != components_.end() && it->second.state() == state;
  });
  base::MutexLock lock(mutex_);
  return components_[sha256];
}

v1::HostFacts ShimClient::AwaitFacts(const std::function<bool(const v1::HostFacts&)>& fits) {
  Await("waiting for facts", [&]() NO_THREAD_SAFETY_ANALYSIS { return fits(facts_); });
  base::MutexLock lock(mutex_);
  return facts_;
}

std::vector<v1::HostMetrics> ShimClient::AwaitSamples(std::size_t count) {
  Await("waiting for samples",
        [&]() NO_THREAD_SAFETY_ANALYSIS { return samples_.size() >= count; });
  base::MutexLock lock(mutex_);
  return samples_;
}

v1::DrainStatus ShimClient::AwaitDrain(bool is_draining, std::uint32_t live_tasks) {
  Await("waiting for the drain", [&]() NO_THREAD_SAFETY_ANALYSIS {
    return drain_ && drain_->is_draining() == is_draining && drain_->live_tasks() == live_tasks;
  });
  base::MutexLock lock(mutex_);
  return *drain_;
}

v1::TaskStatus ShimClient::Status(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = statuses_.find(task_id);
  return it == statuses_.end() ? v1::TaskStatus() : it->second;
}

std::vector<v1::TaskState> ShimClient::States(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = states_.find(task_id);
  return it == states_.end() ? std::vector<v1::TaskState>() : it->second;
}

std::vector<v1::PullProgress> ShimClient::Progress(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  const auto it = progress_.find(task_id);
  return it == progress_.end() ? std::vector<v1::PullProgress>() : it->second;
}

bool ShimClient::IsRemoved(const std::string& task_id) const {
  base::MutexLock lock(mutex_);
  return removed_.contains(task_id);
}

std::size_t ShimClient::tasks_before_sync() const {
  base::MutexLock lock(mutex_);
  return tasks_before_sync_;
}

}  // namespace dstack::shim
