// Calls that only people and repair tools make: they look, and disturb nothing.
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/rpc/status_mapping.h"
#include "libs/spool/reader.h"
#include "services/shim/api/await.h"
#include "services/shim/api/shim_service.h"

namespace dstack::shim {
namespace {

constexpr std::uint32_t kDefaultTailBytes = 64U << 10;
constexpr std::uint32_t kMaxTailBytes = 1U << 20;
constexpr std::size_t kMaxPullLogBytes = 256U << 10;
constexpr std::size_t kMaxPullLogFile = std::size_t{64} << 20;

// As submitted, without what must not leave the host.
v1::TaskSpec WithoutSecrets(v1::TaskSpec spec) {
  spec.clear_runner_token();
  if (spec.has_registry_auth()) {
    const std::string username = spec.registry_auth().username();
    spec.mutable_registry_auth()->Clear();
    spec.mutable_registry_auth()->set_username(username);
  }
  return spec;
}

v1::StopWish ToProto(const record::StopWish& wish) {
  v1::StopWish stop;
  *stop.mutable_grace() = wish.grace();
  *stop.mutable_request_time() = wish.requested_at();
  stop.set_message(wish.message());
  stop.set_is_signalled(wish.is_signalled());
  return stop;
}

// Directory of a source's spool below the runner's; see services/runner.
absl::StatusOr<std::string> SpoolName(common::v1::LogSource source) {
  switch (source) {
    case common::v1::LOG_SOURCE_UNSPECIFIED:
    case common::v1::LOG_SOURCE_JOB:
      return "job";
    case common::v1::LOG_SOURCE_RUNNER:
      return "runner";
    default:
      return base::InvalidField("source", fmt::format("{} is unknown", int{source}));
  }
}

common::v1::LogRecord ToProto(const spool::Record& record) {
  common::v1::LogRecord out;
  out.set_sequence(record.sequence);
  out.set_time_unix_nano(record.time_unix_nano);
  out.set_data(record.data);
  out.set_dropped_bytes(record.dropped_bytes);
  return out;
}

absl::Status TailLog(const std::string& runner_dir,
                     const v1::TailTaskLogRequest& request,
                     v1::TailTaskLogResponse* response) {
  if (request.max_bytes() > kMaxTailBytes) {
    return base::InvalidField("max_bytes",
                              fmt::format("{} is above {}", request.max_bytes(), kMaxTailBytes));
  }
  ASSIGN_OR_RETURN(const std::string name, SpoolName(request.source()));
  const std::uint32_t max_bytes =
      request.max_bytes() == 0 ? kDefaultTailBytes : request.max_bytes();
  ASSIGN_OR_RETURN(const auto records,
                   spool::ReadNewest(fmt::format("{}/spool/{}", runner_dir, name), max_bytes));
  for (const spool::Record& record : records) *response->add_records() = ToProto(record);
  return absl::OkStatus();
}

}  // namespace

grpc::Status ShimService::InspectTask(grpc::ServerContext* context,
                                      const v1::InspectTaskRequest* request,
                                      v1::InspectTaskResponse* response) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<record::TaskRecord>>>();
  auto future = promise->get_future();
  c_.table.Snapshot(request->task_id(), [promise](absl::StatusOr<record::TaskRecord> record) {
    promise->set_value(std::move(record));
  });
  auto record = Await(*context, std::move(future));
  if (!record.ok()) return rpc::ToGrpc(record.status());
  *response->mutable_task() = record->status();
  *response->mutable_spec() = WithoutSecrets(std::move(*record->mutable_spec()));
  if (record->has_stop()) *response->mutable_stop() = ToProto(record->stop());
  response->set_was_started(record->was_started());
  response->set_is_removing(record->is_removing());
  const auto container = c_.runtime.Describe(request->task_id());
  if (container.ok()) {
    response->set_container_json(*container);
  } else if (!absl::IsNotFound(container.status())) {
    response->set_container_error(std::string(base::Message(container.status())));
  }
  return grpc::Status::OK;
}

grpc::Status ShimService::TailTaskLog(grpc::ServerContext*,
                                      const v1::TailTaskLogRequest* request,
                                      v1::TailTaskLogResponse* response) {
  // Known ids only: the id becomes a path.
  if (!c_.table.Contains(request->task_id())) return rpc::ToGrpc(UnknownTask(request->task_id()));
  return rpc::ToGrpc(TailLog(c_.home.RunnerDir(request->task_id()), *request, response));
}

grpc::Status ShimService::GetPullLog(grpc::ServerContext*,
                                     const v1::GetPullLogRequest* request,
                                     v1::GetPullLogResponse* response) {
  if (!c_.table.Contains(request->task_id())) return rpc::ToGrpc(UnknownTask(request->task_id()));
  auto text = base::ReadFile(c_.home.PullLog(request->task_id()), kMaxPullLogFile);
  if (absl::IsNotFound(text.status())) return grpc::Status::OK;
  if (!text.ok()) return rpc::ToGrpc(text.status());
  if (text->size() > kMaxPullLogBytes) text->erase(0, text->size() - kMaxPullLogBytes);
  response->set_data(*std::move(text));
  return grpc::Status::OK;
}

grpc::Status ShimService::DumpLedger(grpc::ServerContext*,
                                     const v1::DumpLedgerRequest*,
                                     v1::DumpLedgerResponse* response) {
  for (const auto& [id, holder] : c_.gpus.Dump()) {
    auto* entry = response->add_entries();
    entry->set_resource_id(id);
    entry->set_task_id(holder);
  }
  return grpc::Status::OK;
}

grpc::Status ShimService::RefreshHost(grpc::ServerContext*,
                                      const v1::RefreshHostRequest*,
                                      v1::RefreshHostResponse* response) {
  c_.refresh_host();
  *response->mutable_facts() = c_.facts();
  c_.hub.RefreshFacts();
  return grpc::Status::OK;
}

grpc::Status ShimService::SetDrain(grpc::ServerContext*,
                                   const v1::SetDrainRequest* request,
                                   v1::SetDrainResponse* response) {
  const absl::Status set = c_.drain.Set(request->is_draining(), request->reason());
  if (!set.ok()) return rpc::ToGrpc(set);
  c_.hub.OnDrainChanged();
  *response->mutable_drain() = c_.drain.status();
  return grpc::Status::OK;
}

}  // namespace dstack::shim
