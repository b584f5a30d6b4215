#include "api_fixture.h"
#include "libs/base/sha256.h"

namespace dstack::server {
namespace {

TEST_CASE("the server tells what it is") {
  ApiFixture api;
  auto info = api.Call(
      api.server, &api::v1::ServerService::Stub::GetServerInfo, api::v1::GetServerInfoRequest());
  REQUIRE(info.ok());
  CHECK_FALSE(info->version().empty());
  CHECK_FALSE(info->server_id().empty());
  CHECK(info->replica_id() == "replica-1");
  CHECK(info->limits().max_file_bytes() > 0);
}

TEST_CASE("users have a token and a key of their own") {
  ApiFixture api;
  const std::string token = api.NewUser("ann");
  api::v1::CreateUserRequest again;
  again.set_user_name("ann");
  const auto taken = api.Call(api.users, &api::v1::UserService::Stub::CreateUser, again).status();
  CHECK(taken.code() == absl::StatusCode::kAlreadyExists);
  CHECK(base::Reason(taken) == "NAME_TAKEN");
  again.set_user_name("a b");
  CHECK(base::FieldViolations(
            api.Call(api.users, &api::v1::UserService::Stub::CreateUser, again).status())
            .at(0)
            .field == "user_name");

  api.token = token;
  auto me =
      api.Call(api.users, &api::v1::UserService::Stub::GetMyUser, api::v1::GetMyUserRequest());
  REQUIRE(me.ok());
  CHECK(me->user().name() == "ann");
  CHECK(me->user().global_role() == api::v1::GLOBAL_ROLE_USER);
  auto key =
      api.Call(api.users, &api::v1::UserService::Stub::GetMySshKey, api::v1::GetMySshKeyRequest());
  REQUIRE(key.ok());
  CHECK_THAT(key->private_key(), Catch::StartsWith("-----BEGIN OPENSSH PRIVATE KEY-----"));
  CHECK(key->public_key() == me->user().ssh_public_key());
  auto seen =
      api.Call(api.users, &api::v1::UserService::Stub::ListUsers, api::v1::ListUsersRequest());
  REQUIRE(seen.ok());
  CHECK(seen->users_size() == 1);
  again.set_user_name("bob");
  const auto denied = api.Call(api.users, &api::v1::UserService::Stub::CreateUser, again).status();
  CHECK(denied.code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("users and projects page by name") {
  ApiFixture api;
  for (const char* name : {"ann", "bob", "carl", "dora"}) api.NewUser(name);
  std::vector<std::string> names;
  api::v1::ListUsersRequest request;
  request.set_page_size(2);
  int pages = 0;
  do {
    auto page = api.Call(api.users, &api::v1::UserService::Stub::ListUsers, request);
    REQUIRE(page.ok());
    for (const auto& user : page->users()) names.push_back(user.name());
    request.set_page_token(page->next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  CHECK(names == std::vector<std::string>{"admin", "ann", "bob", "carl", "dora"});
  CHECK(pages == 3);
  request.set_page_token("rubbish");
  const auto wrong = api.Call(api.users, &api::v1::UserService::Stub::ListUsers, request).status();
  CHECK(base::Reason(wrong) == "INVALID_PAGE_TOKEN");
}

TEST_CASE("creating a project twice with a request id gives the first answer") {
  ApiFixture api;
  api::v1::CreateProjectRequest request;
  request.set_project_name("lab");
  request.set_request_id("r1");
  auto first = api.Call(api.projects, &api::v1::ProjectService::Stub::CreateProject, request);
  auto second = api.Call(api.projects, &api::v1::ProjectService::Stub::CreateProject, request);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->project().id() == second->project().id());
  REQUIRE(first->project().members_size() == 1);
  CHECK(first->project().members(0).role() == api::v1::PROJECT_ROLE_ADMIN);
  request.clear_request_id();
  const auto taken =
      api.Call(api.projects, &api::v1::ProjectService::Stub::CreateProject, request).status();
  CHECK(base::Reason(taken) == "NAME_TAKEN");
}

absl::Status Upload(ApiFixture& api,
                    const std::string& digest,
                    const std::vector<std::string>& pieces,
                    std::uint64_t* size) {
  grpc::ClientContext context;
  api.Authorise(context);
  api::v1::UploadFileResponse response;
  auto writer = api.files->UploadFile(&context, &response);
  api::v1::UploadFileRequest request;
  request.set_digest(digest);
  for (const std::string& piece : pieces) {
    request.set_data(piece);
    if (!writer->Write(request)) break;
    request.clear_digest();
  }
  writer->WritesDone();
  const absl::Status status = rpc::FromGrpc(writer->Finish());
  *size = response.size_bytes();
  return status;
}

TEST_CASE("a file is stored once, whole, and under its own digest only") {
  ApiFixture api;
  const std::string content = std::string(1 << 20, 'a') + std::string(1 << 20, 'b');
  const std::string digest = base::Sha256Hex(content);
  api::v1::FindMissingFilesRequest find;
  find.add_digests(digest);
  auto missing = api.Call(api.files, &api::v1::FileService::Stub::FindMissingFiles, find);
  REQUIRE(missing.ok());
  CHECK(missing->missing_digests_size() == 1);

  std::uint64_t size = 0;
  const auto half = Upload(api, digest, {content.substr(0, 1 << 20)}, &size);
  CHECK(base::Reason(half) == "DIGEST_MISMATCH");
  REQUIRE(Upload(api, digest, {content.substr(0, 1 << 20), content.substr(1 << 20)}, &size).ok());
  CHECK(size == content.size());
  missing = api.Call(api.files, &api::v1::FileService::Stub::FindMissingFiles, find);
  REQUIRE(missing.ok());
  CHECK(missing->missing_digests_size() == 0);

  CHECK(Upload(api, "ABC", {"x"}, &size).code() == absl::StatusCode::kInvalidArgument);
  CHECK(Upload(api, digest, {}, &size).code() == absl::StatusCode::kInvalidArgument);
  const std::string piece(4 << 20, 'x');
  const auto large = Upload(api, digest, std::vector<std::string>(17, piece), &size);
  CHECK(base::Reason(large) == "TOO_LARGE");
  find.add_digests("zz");
  CHECK(api.Call(api.files, &api::v1::FileService::Stub::FindMissingFiles, find).status().code() ==
        absl::StatusCode::kInvalidArgument);

  api.token = api.NewUser("ann");
  find.mutable_digests()->RemoveLast();
  missing = api.Call(api.files, &api::v1::FileService::Stub::FindMissingFiles, find);
  REQUIRE(missing.ok());
  CHECK(missing->missing_digests_size() == 1);
}

}  // namespace
}  // namespace dstack::server
