#pragma once

#include <string>

#include "dstack/api/v1/server_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/rpc/gate.h"

namespace dstack::server {

// dstack.api.v1.ServerService; the proto is the contract.
class ServerService final : public api::v1::ServerService::Service {
 public:
  struct Facts {
    std::string server_id;
    std::string replica_id;
    std::uint64_t max_file_bytes = 0;
    std::uint64_t max_request_bytes = 0;
  };

  // Both outlive this object.
  ServerService(rpc::Gate& gate, const base::Clock& clock, Facts facts);

  grpc::Status GetServerInfo(grpc::ServerContext* context,
                             const api::v1::GetServerInfoRequest* request,
                             api::v1::GetServerInfoResponse* response) override;

 private:
  rpc::Gate& gate_;
  const base::Clock& clock_;
  const Facts facts_;
};

}  // namespace dstack::server
