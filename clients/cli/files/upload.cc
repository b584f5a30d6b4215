#include "clients/cli/files/upload.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"

namespace dstack::cli {
namespace {

// The service takes at most 1 MiB in one message.
constexpr size_t kPieceBytes = 512 << 10;
constexpr std::chrono::minutes kUploadTimeout{10};

absl::StatusOr<std::string> LocalPath(const Environment& environment,
                                      const std::string& document_directory,
                                      const std::string& path) {
  const bool is_relative = path.empty() || (path[0] != '/' && path[0] != '~');
  if (is_relative && document_directory.empty()) {
    return base::InvalidField("files",
                              fmt::format("a relative path needs a configuration file ({})", path));
  }
  return environment.ResolvePath(path, document_directory);
}

absl::Status Upload(Connection& connection, const Archive& archive) {
  grpc::ClientContext context;
  connection.Authorise(context);
  rpc::SetTimeout(context, kUploadTimeout);
  api::v1::UploadFileResponse response;
  const auto writer = connection.files().UploadFile(&context, &response);
  api::v1::UploadFileRequest request;
  request.set_digest(archive.digest);
  for (size_t sent = 0; sent < archive.bytes.size(); sent += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, archive.bytes.size() - sent);
    request.set_data(archive.bytes.data() + sent, size);
    // A refused write is explained by Finish.
    if (!writer->Write(request)) break;
    request.clear_digest();
  }
  writer->WritesDone();
  return connection.FromCall(writer->Finish());
}

}  // namespace

absl::StatusOr<uint64_t> UploadLimit(Connection& connection) {
  ASSIGN_OR_RETURN(const api::v1::GetServerInfoResponse info,
                   connection.Call(connection.server(),
                                   &api::v1::ServerService::Stub::GetServerInfo,
                                   api::v1::GetServerInfoRequest()));
  return info.limits().max_file_bytes();
}

absl::StatusOr<std::vector<Archive>> PackFiles(Connection& connection,
                                               const Environment& environment,
                                               const std::string& document_directory,
                                               api::v1::RunSpec* spec) {
  std::vector<Archive> archives;
  spec->clear_files();
  if (spec->configuration().files().empty()) return archives;
  ASSIGN_OR_RETURN(const uint64_t limit_bytes, UploadLimit(connection));
  for (const auto& mapping : spec->configuration().files()) {
    ASSIGN_OR_RETURN(const std::string path,
                     LocalPath(environment, document_directory, mapping.local_path()));
    absl::StatusOr<Archive> archive = PackPath(path, limit_bytes);
    if (!archive.ok()) return base::Annotate(archive.status(), "files");
    api::v1::RunFile* file = spec->add_files();
    file->set_digest(archive->digest);
    file->set_path(mapping.path());
    archives.push_back(*std::move(archive));
  }
  return archives;
}

absl::Status UploadMissing(Connection& connection, const std::vector<Archive>& archives) {
  if (archives.empty()) return absl::OkStatus();
  api::v1::FindMissingFilesRequest request;
  for (const Archive& archive : archives) request.add_digests(archive.digest);
  ASSIGN_OR_RETURN(
      const api::v1::FindMissingFilesResponse response,
      connection.Call(connection.files(), &api::v1::FileService::Stub::FindMissingFiles, request));
  std::vector<std::string> missing(response.missing_digests().begin(),
                                   response.missing_digests().end());
  for (const Archive& archive : archives) {
    const auto found = std::find(missing.begin(), missing.end(), archive.digest);
    if (found == missing.end()) continue;
    RETURN_IF_ERROR(base::Annotate(Upload(connection, archive), "uploading files"));
    missing.erase(found);
  }
  return absl::OkStatus();
}

}  // namespace dstack::cli
