#include <google/protobuf/dynamic_message.h>

#include "api_fixture.h"
#include "generic_call.h"

namespace dstack::server {
namespace {

using google::protobuf::MethodDescriptor;

std::string RequestFor(const MethodDescriptor& method, const std::string& project) {
  google::protobuf::DynamicMessageFactory factory;
  std::unique_ptr<google::protobuf::Message> message(
      factory.GetPrototype(method.input_type())->New());
  const auto* field = method.input_type()->FindFieldByName("project_name");
  if (field != nullptr) message->GetReflection()->SetString(message.get(), field, project);
  return message->SerializeAsString();
}

bool TakesProject(const MethodDescriptor& method) {
  return method.input_type()->FindFieldByName("project_name") != nullptr &&
         method.name() != "CreateProject";
}

TEST_CASE("no method but GetServerInfo answers without a good token") {
  ApiFixture api;
  for (const MethodDescriptor* method : ApiMethods()) {
    INFO(method->full_name());
    for (const std::string token : {"", "wrong"}) {
      const absl::Status status =
          GenericCall(api.channel, *method, RequestFor(*method, "main"), token);
      if (method->name() == "GetServerInfo") {
        CHECK(status.ok());
        continue;
      }
      CHECK(status.code() == absl::StatusCode::kUnauthenticated);
      CHECK(base::Reason(status) == "INVALID_TOKEN");
    }
  }
}

TEST_CASE("a project of others looks like one that does not exist") {
  ApiFixture api;
  const std::string stranger = api.NewUser("stranger");
  int methods = 0;
  for (const MethodDescriptor* method : ApiMethods()) {
    if (!TakesProject(*method)) continue;
    INFO(method->full_name());
    ++methods;
    const absl::Status foreign =
        GenericCall(api.channel, *method, RequestFor(*method, "main"), stranger);
    const absl::Status absent =
        GenericCall(api.channel, *method, RequestFor(*method, "nope"), stranger);
    for (const absl::Status& status : {foreign, absent}) {
      CHECK(status.code() == absl::StatusCode::kNotFound);
      CHECK(base::Reason(status) == "PROJECT_NOT_FOUND");
    }
    std::string expected(absent.message());
    expected.replace(expected.find("nope"), 4, "main");
    CHECK(foreign.message() == expected);
  }
  CHECK(methods > 10);
}

TEST_CASE("a global admin sees the projects of all, a user only the own ones") {
  ApiFixture api;
  const std::string ann = api.NewUser("ann");
  api.token = ann;
  api::v1::CreateProjectRequest create;
  create.set_project_name("anns");
  REQUIRE(api.Call(api.projects, &api::v1::ProjectService::Stub::CreateProject, create).ok());
  auto mine = api.Call(
      api.projects, &api::v1::ProjectService::Stub::ListProjects, api::v1::ListProjectsRequest());
  REQUIRE(mine.ok());
  REQUIRE(mine->projects_size() == 1);
  CHECK(mine->projects(0).name() == "anns");
  api.token = kAdminToken;
  auto all = api.Call(
      api.projects, &api::v1::ProjectService::Stub::ListProjects, api::v1::ListProjectsRequest());
  REQUIRE(all.ok());
  CHECK(all->projects_size() == 2);
  api::v1::GetProjectRequest get;
  get.set_project_name("anns");
  CHECK(api.Call(api.projects, &api::v1::ProjectService::Stub::GetProject, get).ok());
}

}  // namespace
}  // namespace dstack::server
