#include "services/shim/api/shim_service.h"

#include <future>
#include <memory>
#include <utility>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/rpc/status_mapping.h"
#include "services/shim/api/await.h"

namespace dstack::shim {

absl::Status UnknownTask(const std::string& task_id) {
  return base::NotFound("TASK_NOT_FOUND", "task", task_id.substr(0, 64));
}

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* ShimService::Session(
    grpc::CallbackServerContext* context) {
  return shim::Session::Open(context, c_.hub, c_.clock);
}

grpc::Status ShimService::GetHost(grpc::ServerContext*,
                                  const v1::GetHostRequest*,
                                  v1::GetHostResponse* response) {
  *response->mutable_facts() = c_.facts();
  response->set_shim_id(c_.hub.shim_id());
  response->set_epoch(c_.hub.epoch());
  response->set_has_session(c_.hub.has_session());
  *response->mutable_drain() = c_.drain.status();
  for (v1::ComponentDigest& digest : ToProto(c_.upgrader.running())) {
    *response->add_components() = std::move(digest);
  }
  if (auto last = c_.upgrader.last()) *response->mutable_upgrade() = *std::move(last);
  return grpc::Status::OK;
}

grpc::Status ShimService::ListTasks(grpc::ServerContext*,
                                    const v1::ListTasksRequest*,
                                    v1::ListTasksResponse* response) {
  for (v1::TaskStatus& status : c_.board.List()) *response->add_tasks() = std::move(status);
  return grpc::Status::OK;
}

grpc::Status ShimService::GetTask(grpc::ServerContext*,
                                  const v1::GetTaskRequest* request,
                                  v1::GetTaskResponse* response) {
  auto status = c_.board.Get(request->task_id());
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
  c_.table.Terminate(
      request->task_id(), *std::move(stop), [promise](absl::StatusOr<v1::TaskStatus> status) {
        promise->set_value(std::move(status));
      });
  const auto status = Await(*context, std::move(future));
  if (status.ok()) *response->mutable_task() = *status;
  return rpc::ToGrpc(status.status());
}

grpc::Status ShimService::RemoveTask(grpc::ServerContext* context,
                                     const v1::RemoveTaskRequest* request,
                                     v1::RemoveTaskResponse*) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<bool>>>();
  auto future = promise->get_future();
  const auto done = [promise](const absl::Status& status) {
    promise->set_value(status.ok() ? absl::StatusOr<bool>(true) : status);
  };
  if (request->is_forced()) {
    c_.table.ForceRemove(request->task_id(), done);
  } else {
    c_.table.Remove(request->task_id(), done);
  }
  return rpc::ToGrpc(Await(*context, std::move(future)).status());
}

}  // namespace dstack::shim
