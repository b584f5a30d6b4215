#include "services/server/api/file_service.h"

#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "libs/base/status.h"
#include "services/server/api/methods.h"

namespace dstack::server {
namespace {

constexpr int kMaxDigests = 1000;

bool IsDigest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

absl::Status CheckDigests(const api::v1::FindMissingFilesRequest& request) {
  if (request.digests_size() > kMaxDigests) {
    return base::InvalidField(
        "digests",
        fmt::format(
            "must have at most {} entries; it has {}", kMaxDigests, request.digests_size()));
  }
  std::vector<base::FieldViolation> violations;
  for (int i = 0; i < request.digests_size(); ++i) {
    if (IsDigest(request.digests(i))) continue;
    violations.push_back(
        {fmt::format("digests[{}]", i), "must be a SHA-256 in 64 lower-case hex digits", ""});
  }
  return base::InvalidFields(violations);
}

// One upload: collects the pieces, then stores the file on the pool. The pieces are in memory until
// then, within the budget of all uploads; nothing of an upload that breaks off is kept. Owns itself
// until the call is over.
class Upload final : public grpc::ServerReadReactor<api::v1::UploadFileRequest> {
 public:
  Upload(rpc::Gate& gate,
         FileStore& files,
         exec::Executor& pool,
         UploadBudget& budget,
         grpc::CallbackServerContext& context,
         api::v1::UploadFileResponse& response)
      : gate_(gate),
        files_(files),
        pool_(pool),
        budget_(budget),
        response_(response),
        admission_(gate.Admit(context, methods::kUploadFile)) {
    // Nobody unknown may fill the memory.
    pool_.Post([this] {
      const absl::Status status = gate_.Authenticate(methods::kUploadFile, admission_);
      if (status.ok()) {
        StartRead(&request_);
      } else {
        End(status);
      }
    });
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      pool_.Post([this] { End(Store()); });
      return;
    }
    const absl::Status status = Take();
    if (status.ok()) {
      StartRead(&request_);
    } else {
      End(status);
    }
  }

  void OnDone() override {
    budget_.Give(taken_bytes_);
    delete this;
  }

 private:
  absl::Status Take() {
    if (!request_.digest().empty()) {
      if (digest_.empty()) digest_ = request_.digest();
      if (digest_ != request_.digest())
        return base::InvalidField("digest", "must be the same in all messages");
    }
    if (!IsDigest(digest_)) {
      return base::InvalidField(
          "digest", "must be a SHA-256 in 64 lower-case hex digits in the first message");
    }
    const std::string& data = request_.data();
    if (content_.size() + data.size() > FileService::kMaxFileBytes) {
      return base::Error(
          absl::StatusCode::kResourceExhausted,
          "TOO_LARGE",
          fmt::format("the file is larger than {} MiB", FileService::kMaxFileBytes >> 20));
    }
    if (!budget_.Take(data.size())) {
      return base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted,
                                              "TOO_LARGE",
                                              "too many uploads at once; try again in a moment"),
                                  std::chrono::seconds(2));
    }
    taken_bytes_ += data.size();
    content_ += data;
    return absl::OkStatus();
  }

  absl::Status Store() {
    if (digest_.empty())
      return base::InvalidField("digest", "is missing: the upload had no message");
    RETURN_IF_ERROR(files_.Put(UserId(admission_.caller.identity.user_id), digest_, content_));
    response_.set_size_bytes(content_.size());
    return absl::OkStatus();
  }

  void End(const absl::Status& status) {
    Finish(gate_.Conclude(methods::kUploadFile, admission_, status));
  }

  rpc::Gate& gate_;
  FileStore& files_;
  exec::Executor& pool_;
  UploadBudget& budget_;
  api::v1::UploadFileResponse& response_;
  rpc::Gate::Admission admission_;
  api::v1::UploadFileRequest request_;
  std::string digest_;
  std::string content_;
  std::uint64_t taken_bytes_ = 0;
};

}  // namespace

FileService::FileService(rpc::Gate& gate, FileStore& files, exec::Executor& pool)
    : gate_(gate), files_(files), pool_(pool) {}

grpc::Status FileService::FindMissingFiles(grpc::ServerContext* context,
                                           const api::v1::FindMissingFilesRequest* request,
                                           api::v1::FindMissingFilesResponse* response) {
  return gate_.Serve(
      *context, methods::kFindMissingFiles, [&](const rpc::Caller& caller) -> absl::Status {
        RETURN_IF_ERROR(CheckDigests(*request));
        ASSIGN_OR_RETURN(
            const auto missing,
            files_.FindMissing(UserId(caller.identity.user_id),
                               {request->digests().begin(), request->digests().end()}));
        response->mutable_missing_digests()->Assign(missing.begin(), missing.end());
        return absl::OkStatus();
      });
}

grpc::ServerReadReactor<api::v1::UploadFileRequest>* FileService::UploadFile(
    grpc::CallbackServerContext* context, api::v1::UploadFileResponse* response) {
  return new Upload(gate_, files_, pool_, budget_, *context, *response);
}

}  // namespace dstack::server
