#include "api_fixture.h"

namespace dstack::server {
namespace {

absl::StatusOr<api::v1::RunPlan> Plan(ApiFixture& api, const api::v1::RunSpec& spec) {
  api::v1::PlanRunRequest request;
  request.set_project_name("main");
  *request.mutable_run_spec() = spec;
  auto response = api.Call(api.runs, &api::v1::RunService::Stub::PlanRun, request);
  if (!response.ok()) return response.status();
  return response->plan();
}

absl::StatusOr<api::v1::Run> Get(ApiFixture& api, const std::string& name) {
  api::v1::GetRunRequest request;
  request.set_project_name("main");
  request.set_run_name(name);
  auto response = api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request);
  if (!response.ok()) return response.status();
  return response->run();
}

TEST_CASE("a plan shows the spec with defaults and changes nothing") {
  ApiFixture api;
  auto plan = Plan(api, ApiFixture::Task("first"));
  INFO(plan.status());
  REQUIRE(plan.ok());
  CHECK(plan->project_name() == "main");
  CHECK(plan->user_name() == "admin");
  CHECK(plan->action() == api::v1::APPLY_ACTION_CREATE);
  CHECK(plan->has_no_fleets());
  CHECK_FALSE(plan->has_current_run());
  CHECK_FALSE(plan->effective_run_spec().ssh_public_key().empty());
  REQUIRE(plan->job_plans_size() == 1);
  CHECK(plan->job_plans(0).job_name() == "first-0-0");
  CHECK(Get(api, "first").status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("all wrong fields come back at once") {
  ApiFixture api;
  auto spec = ApiFixture::Task("Bad Name");
  spec.mutable_configuration()->set_priority(700);
  auto* file = spec.add_files();
  file->set_digest("xyz");
  const absl::Status status = api.Apply(spec).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::Reason(status) == "INVALID_FIELDS");
  std::vector<std::string> fields;
  for (const auto& violation : base::FieldViolations(status)) fields.push_back(violation.field);
  INFO(status);
  CHECK(std::count(fields.begin(), fields.end(), "name") == 1);
  CHECK(std::count(fields.begin(), fields.end(), "priority") == 1);
  CHECK(std::count(fields.begin(), fields.end(), "run_spec.files[0].digest") == 1);
  CHECK(std::count(fields.begin(), fields.end(), "run_spec.files[0].path") == 1);

  auto unsent = ApiFixture::Task("unsent");
  file = unsent.add_files();
  file->set_digest(std::string(64, 'a'));
  file->set_path("/x");
  CHECK_THAT(std::string(api.Apply(unsent).status().message()),
             Catch::Contains("has not been uploaded"));
}

TEST_CASE("a plan tells why no host takes the run now") {
  ApiFixture api;
  api.MustApplyFleet("pool", {"host-1", "host-2"});
  auto spec = ApiFixture::Task("work");
  const auto plan = Plan(api, spec);
  REQUIRE(plan.ok());
  REQUIRE(plan->job_plans_size() == 1);
  const auto& job = plan->job_plans(0);
  CHECK(job.total_offers() == 2);
  REQUIRE(job.unavailable_hosts_size() == 1);
  CHECK(job.unavailable_hosts(0).reason() == "is still being set up");
  CHECK(job.unavailable_hosts(0).host_count() == 2);
  CHECK(job.unavailable_hosts(0).instance_names(1) == "pool-1");

  spec.mutable_configuration()->mutable_profile()->add_fleets()->set_name("other");
  const auto elsewhere = Plan(api, spec);
  REQUIRE(elsewhere.ok());
  CHECK(elsewhere->job_plans(0).unavailable_hosts(0).reason() ==
        "is not in a fleet that the run names");
}

TEST_CASE("an active run takes a new priority, and nothing else, in place") {
  ApiFixture api;
  api.MustApplyFleet("pool", {"host-1"});
  const auto run = api.MustApply(ApiFixture::Task("work"));
  CHECK(run.status() == api::v1::RUN_STATUS_SUBMITTED);

  auto wanted = ApiFixture::Task("work");
  wanted.mutable_configuration()->set_priority(7);
  auto plan = Plan(api, wanted);
  REQUIRE(plan.ok());
  CHECK(plan->action() == api::v1::APPLY_ACTION_UPDATE);
  CHECK(plan->current_run().id() == run.id());
  REQUIRE(plan->changed_fields_size() == 1);
  CHECK(plan->changed_fields(0) == "priority");
  REQUIRE(plan->changes_size() == 1);
  CHECK(plan->changes(0).path() == "priority");
  CHECK(plan->changes(0).current() == "0");
  CHECK(plan->changes(0).wanted() == "7");

  api::v1::ApplyRunRequest request;
  request.set_project_name("main");
  *request.mutable_run_spec() = wanted;
  CHECK(base::Reason(api.Call(api.runs, &api::v1::RunService::Stub::ApplyRun, request).status()) ==
        "CHANGED_SINCE_PLAN");
  request.set_current_run_id(plan->current_run().id());
  request.set_current_run_version(plan->current_run().version());
  auto updated = api.Call(api.runs, &api::v1::RunService::Stub::ApplyRun, request);
  INFO(updated.status());
  REQUIRE(updated.ok());
  CHECK(updated->run().id() == run.id());
  CHECK(updated->run().priority() == 7);
  // Once more changes nothing.
  CHECK(api.Call(api.runs, &api::v1::RunService::Stub::ApplyRun, request)->run().version() ==
        updated->run().version());

  wanted.mutable_configuration()->mutable_task()->set_commands(0, "echo other");
  *request.mutable_run_spec() = wanted;
  request.set_is_forced(true);
  const absl::Status active =
      api.Call(api.runs, &api::v1::RunService::Stub::ApplyRun, request).status();
  CHECK(active.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::Reason(active) == "RUN_ACTIVE");
  CHECK_THAT(std::string(active.message()), Catch::Contains("commands"));

  api::v1::DeleteRunsRequest remove;
  remove.set_project_name("main");
  remove.add_run_names("work");
  CHECK(base::Reason(api.Call(api.runs, &api::v1::RunService::Stub::DeleteRuns, remove).status()) ==
        "RUN_ACTIVE");
}

TEST_CASE("the same request id gives the same run, another content is refused") {
  ApiFixture api;
  auto first = api.Apply(ApiFixture::Task(""), "req-1");
  auto second = api.Apply(ApiFixture::Task(""), "req-1");
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->id() == second->id());
  CHECK_THAT(first->spec().run_name(), Catch::Matches("[a-z]+-[a-z]+-[0-9]+"));
  const absl::Status other = api.Apply(ApiFixture::Task("other"), "req-1").status();
  CHECK(base::Reason(other) == "REQUEST_ID_REUSED");
  CHECK(api.Apply(ApiFixture::Task("x1"), "with blank").status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("runs that cannot be placed end with words that people understand") {
  ApiFixture api;
  api.MustApply(ApiFixture::Task("nowhere"));
  testing::Await(10s, [&] {
    auto run = Get(api, "nowhere");
    return run.ok() && run->status() == api::v1::RUN_STATUS_FAILED;
  });
  auto run = Get(api, "nowhere");
  CHECK(run->status_message() == "no fleets");
  CHECK(run->has_finished_at());
  REQUIRE(run->jobs_size() == 1);
  CHECK(run->jobs(0).submissions(0).termination_reason() ==
        api::v1::JOB_TERMINATION_REASON_FAILED_TO_START_DUE_TO_NO_CAPACITY);
  // The name is free again.
  CHECK(api.MustApply(ApiFixture::Task("nowhere")).id() != run->id());
}

TEST_CASE("lists page without holes or repetitions, and the size is capped") {
  ApiFixture api;
  for (int i = 0; i < 5; ++i) api.MustApply(ApiFixture::Task("run-" + std::to_string(i)));
  api::v1::ListRunsRequest request;
  request.set_project_name("main");
  request.set_page_size(2);
  std::vector<std::string> names;
  do {
    auto page = api.Call(api.runs, &api::v1::RunService::Stub::ListRuns, request);
    REQUIRE(page.ok());
    CHECK(page->runs_size() <= 2);
    for (const auto& run : page->runs()) names.push_back(run.spec().run_name());
    // What is new does not disturb the pages that follow.
    api.MustApply(ApiFixture::Task("new-" + std::to_string(names.size())));
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  CHECK(names == std::vector<std::string>{"run-4", "run-3", "run-2", "run-1", "run-0"});
  request.set_page_token("rubbish");
  CHECK(base::Reason(api.Call(api.runs, &api::v1::RunService::Stub::ListRuns, request).status()) ==
        "INVALID_PAGE_TOKEN");
}

TEST_CASE("stop and delete name what is missing") {
  ApiFixture api;
  const absl::Status missing = api.Stop("ghost").status();
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(base::Reason(missing) == "RUN_NOT_FOUND");
  CHECK_THAT(std::string(missing.message()), Catch::Contains("ghost"));
  api::v1::StopRunsRequest none;
  none.set_project_name("main");
  CHECK(
      base::FieldViolations(api.Call(api.runs, &api::v1::RunService::Stub::StopRuns, none).status())
          .at(0)
          .field == "run_names");

  api.MustApply(ApiFixture::Task("gone"));
  auto stopped = api.Stop("gone");
  REQUIRE(stopped.ok());
  testing::Await(10s, [&] {
    auto run = Get(api, "gone");
    return run.ok() && run->has_finished_at();
  });
  api::v1::DeleteRunsRequest request;
  request.set_project_name("main");
  request.add_run_names("gone");
  REQUIRE(api.Call(api.runs, &api::v1::RunService::Stub::DeleteRuns, request).ok());
  CHECK(Get(api, "gone").status().code() == absl::StatusCode::kNotFound);
  CHECK(api.Call(api.runs, &api::v1::RunService::Stub::DeleteRuns, request).status().code() ==
        absl::StatusCode::kNotFound);
  request.set_allow_missing(true);
  CHECK(api.Call(api.runs, &api::v1::RunService::Stub::DeleteRuns, request).ok());
}

TEST_CASE("a run is found by id, never by somebody else's") {
  ApiFixture api;
  const auto run = api.MustApply(ApiFixture::Task("mine"));
  api::v1::GetRunRequest request;
  request.set_project_name("main");
  request.set_run_id(run.id());
  REQUIRE(api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request).ok());
  request.set_run_id("not a uuid");
  CHECK(base::Reason(api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request).status()) ==
        "RUN_NOT_FOUND");
  request.clear_run();
  CHECK(api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request).status().code() ==
        absl::StatusCode::kInvalidArgument);

  api.token = api.NewUser("ann");
  api::v1::CreateProjectRequest create;
  create.set_project_name("anns");
  REQUIRE(api.Call(api.projects, &api::v1::ProjectService::Stub::CreateProject, create).ok());
  request.set_project_name("anns");
  request.set_run_id(run.id());
  CHECK(base::Reason(api.Call(api.runs, &api::v1::RunService::Stub::GetRun, request).status()) ==
        "RUN_NOT_FOUND");
}

TEST_CASE("the host key of a job's sshd is known from its submission to its end") {
  ApiFixture api;
  const auto key_of = [](const api::v1::Run& run) {
    return run.jobs(0).submissions(0).ssh_host_key();
  };
  // Runs wait for its host.
  api.MustApplyFleet("pool", {"host-1"});
  const std::string key = key_of(api.MustApply(ApiFixture::Task("keyed")));
  CHECK_THAT(key, Catch::StartsWith("ssh-ed25519 "));
  CHECK(key.find('\n') == std::string::npos);
  CHECK(key_of(Get(api, "keyed").value()) == key);
  CHECK(key_of(api.MustApply(ApiFixture::Task("other"))) != key);
  REQUIRE(api.Stop("keyed").ok());
  testing::Await(10s, [&] { return key_of(Get(api, "keyed").value()).empty(); });
}

}  // namespace
}  // namespace dstack::server
