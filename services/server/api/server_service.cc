#include "services/server/api/server_service.h"

#include <utility>

#include "libs/base/version.h"
#include "services/server/api/convert.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

constexpr std::uint32_t kMaxPageSize = 1000;

}  // namespace

ServerService::ServerService(rpc::Gate& gate, const base::Clock& clock, Facts facts)
    : gate_(gate), clock_(clock), facts_(std::move(facts)) {}

grpc::Status ServerService::GetServerInfo(grpc::ServerContext* context,
                                          const api::v1::GetServerInfoRequest*,
                                          api::v1::GetServerInfoResponse* response) {
  return gate_.Serve(*context, methods::kGetServerInfo, [&](const rpc::Caller&) {
    response->set_version(std::string(base::Version()));
    response->mutable_limits()->set_max_file_bytes(facts_.max_file_bytes);
    response->mutable_limits()->set_max_request_bytes(facts_.max_request_bytes);
    response->mutable_limits()->set_max_page_size(kMaxPageSize);
    *response->mutable_time() = ToProto(clock_.Now());
    response->set_server_id(facts_.server_id);
    response->set_replica_id(facts_.replica_id);
    return absl::OkStatus();
  });
}

}  // namespace dstack::server
