#include "services/shim/api/shim_service.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::shim {
namespace {

// For calls without a deadline.
constexpr std::chrono::seconds kDefaultWait{30};

absl::Status UnknownTask(const std::string& task_id) {
  return base::NotFound("TASK_NOT_FOUND", "task", task_id.substr(0, 64));
}

// Waits for an answer that another thread gives, as long as the caller does.
template <typename T>
absl::StatusOr<T> Await(const grpc::ServerContext& context, std::future<absl::StatusOr<T>> future) {
  const auto limit = std::chrono::system_clock::now() + kDefaultWait;
  if (future.wait_until(std::min(limit, context.deadline())) == std::future_status::ready) {
    return future.get();
  }
  return absl::DeadlineExceededError("the task takes longer; the request stays in force");
}

}  // namespace

ShimService::ShimService(SessionHub& hub,
                         TaskTable& table,
                         StatusBoard& board,
                         std::function<v1::HostFacts()> facts,
                         const base::Clock& clock)
    : hub_(hub), table_(table), board_(board), facts_(std::move(facts)), clock_(clock) {}

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* ShimService::Session(
    grpc::CallbackServerContext* context) {
  return shim::Session::Open(context, hub_, clock_);
}

grpc::Status ShimService::GetHost(grpc::ServerContext*,
                                  const v1::GetHostRequest*,
                                  v1::GetHostResponse* response) {
  *response->mutable_facts() = facts_();
  response->set_shim_id(hub_.shim_id());
  response->set_epoch(hub_.epoch());
  response->set_has_session(hub_.has_session());
  return grpc::Status::OK;
}

grpc::Status ShimService::ListTasks(grpc::ServerContext*,
                                    const v1::ListTasksRequest*,
                                    v1::ListTasksResponse* response) {
  for (v1::TaskStatus& status : board_.List()) *response->add_tasks() = std::move(status);
  return grpc::Status::OK;
}

grpc::Status ShimService::GetTask(grpc::ServerContext*,
                                  const v1::GetTaskRequest* request,
                                  v1::GetTaskResponse* response) {
  auto status = board_.Get(request->task_id());
  if (!status) return rpc::ToGrpc(UnknownTask(request->task_id()));
  *response->mutable_task() = *std::move(status);
  return grpc::Status::OK;
}

grpc::Status ShimService::TerminateTask(grpc::ServerContext* context,
                                        const v1::TerminateTaskRequest* request,
                                        v1::TerminateTaskResponse* response) {
  auto stop = ToStopRequest(request->stop_policy(), "ended by hand");
  if (!stop.ok()) return rpc::ToGrpc(stop.status());
  auto promise = std::make_shared<std::promise<absl::StatusOr<v1::TaskStatus>>>();
  auto future = promise->get_future();
  table_.Terminate(
      request->task_id(), *std::move(stop), [promise](absl::StatusOr<v1::TaskStatus> status) {
        promise->set_value(std::move(status));
      });
  auto status = Await(*context, std::move(future));
  if (status.ok()) *response->mutable_task() = *std::move(status);
  return rpc::ToGrpc(status.status());
}

grpc::Status ShimService::RemoveTask(grpc::ServerContext* context,
                                     const v1::RemoveTaskRequest* request,
                                     v1::RemoveTaskResponse*) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<bool>>>();
  auto future = promise->get_future();
  table_.Remove(request->task_id(), [promise](const absl::Status& status) {
    promise->set_value(status.ok() ? absl::StatusOr<bool>(true) : status);
  });
  return rpc::ToGrpc(Await(*context, std::move(future)).status());
}

}  // namespace dstack::shim
