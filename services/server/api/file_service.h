#pragma once

#include <atomic>
#include <cstdint>

#include "dstack/api/v1/file_service.grpc.pb.h"

#include "libs/exec/executor.h"
#include "libs/rpc/gate.h"
#include "services/server/ports/file_store.h"

namespace dstack::server {

// Room for uploads in memory, shared by all of them. Thread-safe.
class UploadBudget {
 public:
  explicit UploadBudget(std::uint64_t bytes) : left_(static_cast<std::int64_t>(bytes)) {}
  bool Take(std::uint64_t bytes) {
    if (left_.fetch_sub(static_cast<std::int64_t>(bytes)) >= static_cast<std::int64_t>(bytes))
      return true;
    Give(bytes);
    return false;
  }
  void Give(std::uint64_t bytes) { left_.fetch_add(static_cast<std::int64_t>(bytes)); }

 private:
  std::atomic<std::int64_t> left_;
};

// dstack.api.v1.FileService; the proto is the contract.
class FileService final
    : public api::v1::FileService::WithCallbackMethod_UploadFile<api::v1::FileService::Service> {
 public:
  static constexpr std::uint64_t kMaxFileBytes = 64ULL << 20;

  // All outlive this object and the calls in flight.
  FileService(rpc::Gate& gate, FileStore& files, exec::Executor& pool);

  grpc::Status FindMissingFiles(grpc::ServerContext* context,
                                const api::v1::FindMissingFilesRequest* request,
                                api::v1::FindMissingFilesResponse* response) override;
  grpc::ServerReadReactor<api::v1::UploadFileRequest>* UploadFile(
      grpc::CallbackServerContext* context, api::v1::UploadFileResponse* response) override;

 private:
  rpc::Gate& gate_;
  FileStore& files_;
  exec::Executor& pool_;
  UploadBudget budget_{256ULL << 20};
};

}  // namespace dstack::server
